"""The tool that runs CPython's own tests: what it counts as lost, and a run of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "conformance"
sys.path.insert(0, str(HERE))
try:
    import runner
    import sets
    import table
finally:
    sys.path.remove(str(HERE))


def record(**tests: Any) -> dict[str, Any]:
    return {"name": "test_x", "tests": tests}


def test_what_passes_under_stock_alone_is_lost() -> None:
    stock = record(a="ok", b="ok", c="ok", d=["fail", "m"], e=["skip", ""], f="ok")
    patched = record(a="ok", b=["error", "why"], c=["hang", None], d=["crash", None])
    found = table.compare(stock, patched, {})
    assert found.passing == 4
    assert [(test, outcome) for _, test, outcome, _ in found.lost] == [
        ("b", "error"),
        ("c", "hang"),
        ("f", "absent"),
    ]
    assert found.lost[0][3] == "why"
    assert (found.count("hang"), found.count("crash")) == (1, 0)


def test_what_passes_when_run_again_is_not_lost_but_counted() -> None:
    found = table.compare(record(a="ok"), record(a=["again", "fail", "m"]), {})
    assert (found.lost, found.again) == ([], ["test_x.a"])


def test_what_fails_under_stock_too_when_run_again_is_not_lost() -> None:
    stock = record(a="ok", b="ok", c="ok", d="ok")
    patched = record(a=["fail", "m"], b=["fail", "m"], c=["fail", "m"], d=["hang", None])
    patched["repeats"] = {
        "a": [["ok", "fail"], ["ok", "ok"]],
        "b": [["ok", "fail"], ["fail", "fail"]],
        "c": [["ok", "fail"], ["ok", "fail"]],
    }
    found = table.compare(stock, patched, {})
    assert (found.again, found.unsure) == (["test_x.a"], ["test_x.b"])
    assert [test for _, test, _, _ in found.lost] == ["c", "d"]
    patched = record(a="ok", b="ok", c="ok", d="ok")
    patched |= {"exit": "hang", "repeats": {"<exit>": [["hang", "hang"]]}}
    found = table.compare(stock, patched, {})
    assert (found.lost, found.unsure) == ([], ["test_x.<exit>"])


def test_where_all_pass_stock_need_not_be_asked() -> None:
    assert table.all_pass(record(a="ok", b="ok"))
    assert not table.all_pass(record(a="ok", b=["skip", ""]))
    assert not table.all_pass(record(a="ok") | {"exit": 1})
    assert not table.all_pass(record() | {"module": ["skip", ""]})


def test_a_process_that_does_not_end_well_is_a_loss() -> None:
    stock, patched = record(a="ok"), record(a="ok")
    assert table.compare(stock, patched | {"exit": 0}, {}).lost == []
    assert table.compare(stock, patched | {"exit": -11}, {}).lost[0][1:3] == ("<exit>", "error")
    assert table.compare(stock, patched | {"exit": "hang"}, {}).count("hang") == 1
    assert table.compare(stock | {"exit": 1}, patched | {"exit": 1}, {}).lost == []


def test_an_excused_test_is_counted_as_such() -> None:
    found = table.compare(record(a="ok"), record(a=["fail", "m"]), {"test_x.a": "a reason"})
    assert (found.lost, found.excused) == ([], ["test_x.a"])


def test_an_excused_test_is_not_run_again() -> None:
    options = runner.Options("python", "patched", [], excused=frozenset({"excused"}))
    module = runner.Module("test_x", options)
    asked: list[Any] = []
    module._one = lambda only, started: asked.append(only) or runner.Run("limit")
    module.tests = {"excused": ["hang", None]}
    module._again(0.0)
    assert asked == []
    module.tests["other"] = ["fail", "m"]
    module._again(0.0)
    assert asked == [["other"]]


def test_an_excuse_needs_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "excused.txt"
    path.write_text("# a comment\ntest_x.a: inspects OS threads\n")
    assert table.read_excuses(path) == {"test_x.a": "inspects OS threads"}
    path.write_text("test_x.a:\n")
    with pytest.raises(ValueError, match="no reason"):
        table.read_excuses(path)


def test_at_most_twenty_are_excused() -> None:
    assert len(table.read_excuses(HERE / "excused.txt")) <= 20


def test_sets_name_modules_of_the_interpreter() -> None:
    tests = pytest.importorskip("test")
    folder = Path(tests.__file__).parent
    core = sets.expand(["core"], folder)
    assert {"test_socket", "test_threading", "test_os"} <= set(core)
    everything = sets.expand(list(sets.SETS), folder)
    assert set(core) <= set(everything)
    assert len(everything) == len(set(everything))


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs tests that the test itself gives as a module of the interpreter's ``test`` package."""
    import json
    import subprocess

    def run(
        name: str, source: str = "", excused: str = "", repeat: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        (tmp_path / "module.py").write_text(source)
        code = """
import json, sys
from pathlib import Path
here, folder, name, excused, *tests = sys.argv[1:]
sys.path.insert(0, here)
import runner
if Path(folder, "module.py").stat().st_size:
    child = Path(folder, "child.py")
    run = f"run({name!r}, {str(runner._CHILD)!r})"
    child.write_text(Path(folder, "stand_in.py").read_text() + run)
    runner._CHILD = child
runner.EXCUSED_HANG = 0.5
options = runner.Options(sys.executable, "patched", [], 60.0, 60.0, excused=frozenset({excused}))
if tests:
    print(json.dumps(runner.repeat_module(name, options, tests)))
else:
    print(json.dumps(runner.run_module(name, options)))
"""
        (tmp_path / "stand_in.py").write_text("""
import runpy, sys
from importlib.util import module_from_spec, spec_from_file_location
def run(name, child):
    spec = spec_from_file_location(f"test.{name}", __file__.replace("child.py", "module.py"))
    module = sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.argv[0] = child
    runpy.run_path(child, run_name="__main__")
""")
        done = subprocess.run(
            [sys.executable, "-c", code, HERE, tmp_path, name, excused, *repeat],
            stdout=subprocess.PIPE,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def test_a_module_of_the_interpreter_runs(run: Any) -> None:
    pytest.importorskip("test.test_sched")
    found = run("test_sched")
    assert set(found["tests"].values()) == {"ok"}
    assert len(found["tests"]) >= 7


def test_hangs_and_crashes_are_told_and_the_others_run(run: Any) -> None:
    pytest.importorskip("test.support")
    source = """
import os, threading, time, unittest
class Tests(unittest.TestCase):
    def test_1_passes(self): pass
    def test_2_hangs(self): threading.Lock().acquire(); threading.Event().wait()
    def test_3_crashes(self): os.abort()
    def test_4_fails(self): self.fail("so")
    def test_5_passes(self): pass
"""
    found = run("test_given", source, excused="Tests.test_2_hangs")
    outcomes = {name[-8:]: table.outcome(found, name) for name in found["tests"]}
    assert outcomes == {
        "1_passes": "ok",
        "_2_hangs": "hang",
        "_crashes": "crash",
        "_4_fails": "fail",
        "5_passes": "ok",
    }


def test_how_the_process_of_an_excused_test_ends_does_not_count(run: Any) -> None:
    pytest.importorskip("test.support")
    source = """
import threading, unittest
class Tests(unittest.TestCase):
    def leave(self): threading.Thread(target=threading.Event().wait).start()
    def test_1_leaves_a_thread(self): self.leave(); self.fail("so")
    def test_2_passes(self): pass
"""
    found = run("test_given", source, excused="Tests.test_1_leaves_a_thread")
    assert [table.outcome(found, name)[:4] for name in found["tests"]] == ["fail", "ok"]
    assert "exit" not in found


def test_some_tests_are_run_again_by_themselves(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("test.support")
    source = f"""
import os, unittest
class Tests(unittest.TestCase):
    def test_1_passes(self): pass
    def test_2_crashes(self): os.abort()
    def test_3_is_not_asked_for(self): open({str(tmp_path / "ran")!r}, "w").close()
    def test_4_fails(self): self.fail("so")
"""
    names = ("Tests.test_1_passes", "Tests.test_2_crashes", "Tests.test_4_fails")
    found = run("test_given", source, repeat=names)
    outcomes = {name: table.outcome(found, name) in table.PASSED for name in names}
    assert outcomes == dict.fromkeys(names, False) | {names[0]: True}
    assert not (tmp_path / "ran").exists()
