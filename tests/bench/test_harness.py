"""The harness: names of runtimes, programs under them, rounds, and what becomes of values."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import capriccio_patch
from capriccio_patch.bench.harness import reduction, rounds, runtimes, tables
from capriccio_patch.bench.harness.children import ChildFailed, Children
from capriccio_patch.bench.harness.sequence import COMPLETE, INTERRUPTED, measuring

PLAIN = [sys.executable, "-c"]


def test_a_runtime_has_one_name_and_may_have_another() -> None:
    assert runtimes.find("threads") is runtimes.find("stock")
    assert set(runtimes.NAMES) == {*runtimes.THREADED, *runtimes.LOOPS}
    with pytest.raises(ValueError, match="none of capriccio, stock"):
        runtimes.find("nonsense")


@pytest.mark.parametrize("name", runtimes.NAMES)
def test_a_program_runs_under_each_runtime(name: str, tmp_path: Path) -> None:
    if reason := runtimes.missing(name):
        pytest.skip(reason)
    program = tmp_path / "program.py"
    program.write_text(
        "import json, sys, threading\n"
        "import beside\n"
        "print(json.dumps([__name__, sys.argv[1:], type(threading.Lock()).__module__]))\n"
    )
    (tmp_path / "beside.py").write_text("")
    with Children() as children:
        child = children.start("it", runtimes.command(name, program, "a", 2))
        main, args, lock = child.result(30)
    assert (main, args) == ("__main__", ["a", "2"])
    assert ("gevent" in lock) == (name == "gevent")


def test_ours_is_asked_for_what_it_is_to_be(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import capriccio_patch, json\n"
        "print(json.dumps({k: str(v) for k, v in capriccio_patch.status().items()}))\n"
    )
    asked = {"sockio": "select", "scheduler": None, "slice": 0}
    with Children() as children:
        found = children.start("it", runtimes.command("capriccio", program, **asked)).result(30)
    assert found["sockio"] == "select"
    assert float(found["slice"]) == 0
    with Children() as children:
        child = children.start("it", runtimes.command("capriccio", program, sockio="nonsense"))
        with pytest.raises(ChildFailed, match=r"ended with status 1: ConfigError.*nonsense"):
            child.result(30)


def test_a_child_sees_no_setting_of_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CAPRICCIO_PATCH", "PYTHONSTARTUP", "GEVENT_LOOP", "EVENTLET_HUB"):
        monkeypatch.setenv(name, "1")
    found = runtimes.environment()
    root = str(Path(capriccio_patch.__file__).parents[1])
    assert {k: v for k, v in found.items() if k.startswith(runtimes._SETTINGS)} == {
        "PYTHONPATH": root
    }
    assert found["PATH"] == os.environ["PATH"]


def test_a_child_answers_line_by_line_and_what_it_used_is_known() -> None:
    code = (
        "import sys, time\n"
        "for line in sys.stdin:\n"
        "    end = time.process_time() + 0.2\n"
        "    while time.process_time() < end: pass\n"
        "    print(line.strip() * 2, flush=True)\n"
    )
    with Children() as children:
        child = children.start("it", [*PLAIN, code])
        before = child.cpu()
        child.tell("ab")
        assert child.line(30) == "abab"
        assert 0.15 < child.cpu() - before < 5
        child.finish(30)
        assert child.process.returncode == 0
        with pytest.raises(ChildFailed, match="it ended with status 0"):
            child.line(30)


def test_a_child_that_takes_too_long_or_fails_afterwards_is_an_error() -> None:
    with Children() as children:
        late = children.start("late", [*PLAIN, "import time; time.sleep(60)"])
        with pytest.raises(ChildFailed, match="late: not done after 0 s"):
            late.line(0.1)
        bad = children.start("bad", [*PLAIN, "print(1, flush=True); raise SystemExit('no')"])
        with pytest.raises(ChildFailed, match="bad ended with status 1: no"):
            bad.result(30)
    assert late.process.returncode is not None


def test_the_first_of_a_round_changes() -> None:
    order: list[str] = []
    turns = {name: lambda name=name: order.append(name) or len(order) for name in "abc"}
    found = list(rounds.take_turns(turns, 4))
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert found[1] == {"b": 4, "c": 5, "a": 6}
    assert rounds.collect(found) == {"a": [1, 6, 8, 10], "b": [2, 4, 9, 11], "c": [3, 5, 7, 12]}
    assert list(rounds.collect(found)) == ["a", "b", "c"]


def test_one_that_fails_is_left_out_and_told_of() -> None:
    ran: list[int] = []
    told: list[tuple[str, str]] = []

    def fails() -> None:
        if len(ran) == 3:
            raise ChildFailed("why")

    turns: dict[str, Callable[[], None]] = {"good": lambda: ran.append(1), "bad": fails}
    found = rounds.collect(rounds.take_turns(turns, 5, lambda *args: told.append(args)))
    assert told == [("bad", "why")]
    assert found == {"good": [None] * 5}
    del ran[3:]
    with pytest.raises(ChildFailed):
        list(rounds.take_turns({"bad": fails}, 1))


def test_how_a_measurement_ended_is_noted() -> None:
    for error, ended in (
        (None, COMPLETE),
        (KeyboardInterrupt(), INTERRUPTED),
        (ChildFailed("x"), "x"),
    ):
        found: dict[str, str] = {}
        with measuring(found):
            if error:
                raise error
        assert found == {"ended": ended}


def test_figures() -> None:
    assert reduction.quartiles([1.0]) == (1.0, 1.0, 1.0)
    assert reduction.quartiles([4.0, 1.0, 2.0, 3.0, 5.0]) == (2.0, 3.0, 4.0)
    assert reduction.middle([3.0, 1.0, 2.0]) == 2.0
    assert reduction.ratios([1.0, 2.0, 9.0], [2.0, 1.0]) == [0.5, 2.0]


def test_a_table() -> None:
    assert tables.markdown(["a", "b"], [["1", ""], ["2", "3"]]) == [
        "| a | b |",
        "|---|---|",
        "| 1 |  |",
        "| 2 | 3 |",
    ]
