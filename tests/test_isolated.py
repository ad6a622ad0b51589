"""Scripts of `tests/isolated`: forks, which end with a word, and descriptors that are reused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import SCHEMES, RunScript, with_scheme

ISOLATED = Path(__file__).parent / "isolated"
SCRIPTS = sorted(ISOLATED.glob("fork_*.py"))
EXPECTED = {
    "fork_and_exit": [
        "a thread of the child",
        "child exits",
        "done",
        "a thread of the parent",
        "parent exits",
    ]
}


@pytest.mark.parametrize("sockio", SCHEMES)
def test_no_wake_up_is_lost_as_numbers_are_reused(run_script: RunScript, sockio: str) -> None:
    done = run_script(ISOLATED / "reuse_storm.py", "240", env=with_scheme(sockio))
    assert done.stdout.startswith(f"240 rounds, {sockio}: ")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
@pytest.mark.parametrize("sockio", SCHEMES)
def test_fork(run_script: RunScript, script: Path, sockio: str) -> None:
    done = run_script(script, env=with_scheme(sockio))
    lines = done.stdout.splitlines()
    if script.stem == "fork_and_exit":
        # The parent's own thread may end while its child does.
        assert sorted(lines) == sorted(EXPECTED[script.stem])
        assert lines.index("child exits") < lines.index("done") < lines.index("parent exits")
    else:
        assert lines == EXPECTED.get(script.stem, ["done"])
    assert done.stderr == ""
