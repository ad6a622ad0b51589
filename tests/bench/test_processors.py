"""The benchmark of several kernels: a small real run, and what it refuses."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.bench import processors
from capriccio_patch.bench.harness.children import ChildFailed


def test_each_case_is_measured_and_kept(bench: Any, tmp_path: Path, no_children: None) -> None:
    kept = tmp_path / "kept.json"
    done = bench("processors", "--quick", "--rounds", "1", "--json", kept)
    result = json.loads(kept.read_text())
    assert result["format"] == processors.FORMAT
    assert result["failed"] == {}
    assert list(result["cases"]) == list(processors.CASES)
    for values in result["cases"].values():
        assert set(values) == {"1", "2"}
        assert all(len(rounds) == 1 and 10 < rounds[0] < 1e8 for rounds in values.values())
    told = "With the GIL" if result["gil"] else "Without the GIL"
    assert f"\n{told}; " in done.stdout
    assert ("there is one kernel" in done.stdout) == result["gil"]
    ratio = r"\d+\.\d\d \[\d+\.\d\d-\d+\.\d\d\]"
    rows = re.findall(rf"\n\| (.+) \| [\d,]+ \| [\d,]+ \| {ratio} \|", done.stdout)
    assert rows == list(processors.CASES.values())
    assert done.stderr.count("\n") == len(rows)


def test_a_case_that_fails_is_left_out_and_the_rest_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def measure(case: str, *_: object) -> dict[str, list[float]]:
        if case == "lock":
            raise ChildFailed("no luck")
        return {"3": [30.0, 8.0, 60.0], "1": [10.0, 4.0, 20.0]}

    kept = tmp_path / "kept.json"
    parser = argparse.ArgumentParser()
    processors.add_arguments(parser)
    monkeypatch.setattr(processors, "_measure", measure)
    given = ["lock", "switch", "--processors=3", f"--json={kept}"]
    assert processors.run(parser.parse_args(given)) == 1
    said = capsys.readouterr()
    assert "lock is left out: no luck" in said.err
    assert "| `time.sleep(0)` | 10 | 30 | 3.00 [2.50-3.00] |" in said.out
    assert "Ratio: 3 kernels over one" in said.out
    result = json.loads(kept.read_text())
    assert (result["processors"], result["rounds"]) == (3, 7)
    assert result["failed"] == {"lock": "no luck"}
    assert list(result["cases"]) == ["switch"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("--processors=1", "one kernel is what others are compared with"),
        ("--rounds=0", "'0' is no positive number"),
        ("nonsense", "'nonsense' is none of computing, "),
    ],
)
def test_what_makes_no_sense_is_refused(bench: Any, given: str, why: str) -> None:
    assert why in bench("processors", given, status=2).stderr
