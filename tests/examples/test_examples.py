"""The programs of the folder ``examples`` do what they are there to show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.one_processor  # what the seeds of one scheduler choose
def test_a_race_is_found_and_reproduced(run_script: Any) -> None:
    done = run_script(EXAMPLES / "race.py", timeout=100)
    lines = done.stdout.splitlines()
    assert "failed with --seed" in lines[-3]
    assert lines[-1] == "the same"


def test_a_server_with_a_tenth_of_the_descriptors_serves_every_client(run_script: Any) -> None:
    done = run_script(EXAMPLES / "overload.py", "600", "5", timeout=100)
    free, tight = (line for line in done.stdout.splitlines() if line.startswith("graph"))
    assert "600 of 600 clients served" in free
    assert " 60 descriptors:   600 of 600 clients served" in tight
    assert "Errno" not in free + tight
