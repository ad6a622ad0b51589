"""The primitives' costs: a small real run, and what is told of rows that can't be measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rich")

from capriccio_patch.bench import micro
from capriccio_patch.bench.harness import runtimes
from capriccio_patch.bench.harness.progress import Bars


def measured(monkeypatch: pytest.MonkeyPatch, program: str, tmp_path: Path) -> dict[str, Any]:
    """What is made of a program that speaks as the real one does."""
    path = tmp_path / "primitives.py"
    path.write_text("import json, time\n" + program)
    monkeypatch.setattr(runtimes, "command", lambda runtime, _, *args: [sys.executable, str(path)])
    with Bars(1) as bars:
        return micro.measure("stock", True, bars)


@pytest.mark.wall_clock
def test_each_row_is_measured_and_kept(bench: Any, tmp_path: Path) -> None:
    args = ("--runtimes", "capriccio", "threads", "--output", tmp_path)
    done = bench("micro", "--quick", *args)
    result = json.loads((tmp_path / "micro.json").read_text())
    assert [found["runtime"] for found in result["runtimes"]] == ["capriccio", "stock"]
    for found in result["runtimes"]:
        assert found["refused"] == {}
        assert set(found["cases"]) == {*micro.ROWS, "pipes 0", "pipes 1000"}
        for rounds in found["cases"].values():
            assert len(rounds) == 3
            assert all(1e-8 < seconds < 0.1 for seconds in rounds)
    assert "uncontended mutex" in done.stdout
    assert "10 active and 1000 idle" in done.stdout


def test_a_row_that_hangs_is_told_of_and_the_rest_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(micro, "_IDLE_LIMIT", 0.3)
    program = """
print(json.dumps({"begins": "create"}), flush=True)
print(json.dumps({"case": "create", "seconds": [0.5]}), flush=True)
print(json.dumps({"begins": "switch"}), flush=True)
time.sleep(1000)
"""
    found = measured(monkeypatch, program, tmp_path)
    assert found["cases"] == {"create": [0.5]}
    assert found["refused"] == {"switch": "hangs"}
    assert micro.cell(found, "create") == "500000.00"
    assert micro.cell(found, "switch") == "hangs"
    assert micro.cell(found, "produce") == "-"
    assert any("hangs" in line for line in micro.lines([found]))


def test_a_program_that_says_nothing_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(micro, "_LIMIT", 0.3)
    found = measured(monkeypatch, "time.sleep(1000)", tmp_path)
    assert "says nothing" in found["ended"]
    assert any("says nothing" in line for line in micro.lines([found]))


def test_a_row_that_takes_too_long_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(micro, "_LIMIT", 1.5)
    program = """
print(json.dumps({"begins": "switch"}), flush=True)
while True:
    pass
"""
    found = measured(monkeypatch, program, tmp_path)
    assert found["refused"] == {"switch": "over 2 s"}
    assert found["ended"] == "complete"


def test_a_program_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = measured(monkeypatch, "raise SystemExit('no luck')", tmp_path)
    assert "no luck" in found["ended"]


def test_a_row_that_is_refused_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = """
print(json.dumps({"begins": "pipes 9000"}), flush=True)
print(json.dumps({"case": "pipes 9000", "refused": "Too many open files"}), flush=True)
"""
    found = measured(monkeypatch, program, tmp_path)
    assert found["refused"] == {"pipes 9000": "Too many open files"}
    assert found["ended"] == "complete"
    assert any("9000 idle" in line and "Too many" in line for line in micro.lines([found]))


@pytest.fixture(autouse=True)
def no_terminal(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    capsys.readouterr()
