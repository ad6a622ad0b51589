"""How many threads can be created: small real runs, what they keep, and what stops them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("rich")

from capriccio_patch.bench import capacity, limits
from capriccio_patch.bench.harness import conditions
from capriccio_patch.bench.harness.children import Children
from capriccio_patch.bench.harness.progress import Bars


def test_threads_are_made_and_what_they_take_is_kept(bench: Any, tmp_path: Path) -> None:
    names = ("capriccio", "threads")
    done = bench("limits", "--threads=2500", "--runtimes", *names, f"--output={tmp_path}")
    result = json.loads((tmp_path / "limits.json").read_text())
    assert result["conditions"]["versions"]["capriccio_patch"]
    ours, stock = result["runtimes"]
    for found in (ours, stock):
        assert [step["threads"] for step in found["steps"]] == [0, 1000, 2000, 2500]
        assert found["ended"] == "complete"
        assert found["stopped_by"] == ""
        seconds = [step["seconds"] for step in found["steps"]]
        assert seconds == sorted(seconds)
        assert found["steps"][-1]["cpu"] > 0
    assert ours["steps"][-1]["os_threads"] < 10
    assert stock["steps"][-1]["os_threads"] >= 2500
    last = limits.each(ours, ours["steps"][-1]), limits.each(stock, stock["steps"][-1])
    assert 2 << 10 < last[0] < last[1] < 100 << 10
    assert "capriccio_patch       2,500" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="where the bound can be read")
def test_the_setting_that_stops_stock_threads_is_named(bench: Any, tmp_path: Path) -> None:
    # Root is not bound by the number of its processes; by its address space it is.
    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    args = ("--threads=5000", "--runtimes=threads", f"--output={tmp_path}")
    done = bench("limits", *args, preexec_fn=bounded)
    (found,) = json.loads((tmp_path / "limits.json").read_text())["runtimes"]
    assert 0 < found["steps"][-1]["threads"] < 5000
    assert "ulimit -v" in found["stopped_by"], found["stopped_by"]
    assert found["stopped_by"] in done.stdout


def test_a_number_that_memory_does_not_hold_is_cut_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    room = 2_100 * capacity.MEMORY_OF_PARKED_THREAD["capriccio"] / (1 - capacity.SPARE_MEMORY)
    total = psutil.virtual_memory()
    monkeypatch.setattr(capacity.psutil, "virtual_memory", lambda: total._replace(available=room))
    monkeypatch.setattr(limits, "_SPARE_MEMORY", 0.0)
    with Bars(1) as bars:
        found = limits.measure("capriccio", 50_000, bars)
    assert found["ended"] == "complete"
    assert 2_000 < found["steps"][-1]["threads"] <= 2_100
    assert "50,000 threads are too many" in found["stopped_by"]
    assert "GiB" in found["stopped_by"]


def test_memory_and_tasks_are_left_for_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "tasks_left", lambda: (10, "kernel.pid_max = 20"))
    with Bars(1) as bars:
        found = limits.measure("stock", 2_000_000, bars)
    assert found["stopped_by"].startswith("kernel.pid_max = 20")
    monkeypatch.undo()
    monkeypatch.setattr(limits, "_SPARE_MEMORY", 1.0)
    with Bars(1) as bars:
        found = limits.measure("capriccio", 200_000, bars)
    assert found["stopped_by"].startswith("memory")
    assert found["steps"][-1]["threads"] < 200_000


@pytest.mark.parametrize("name", ["threads", "capriccio"])
def test_ctrl_c_leaves_what_was_measured_and_no_process(
    bench: Any, tmp_path: Path, name: str
) -> None:
    args = ("--threads=9000000", f"--runtimes={name}", f"--output={tmp_path}")
    process = bench.start("limits", *args)
    try:
        child = await_child(process.pid)
        await_threads(child)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "Traceback" not in errors
    (found,) = json.loads((tmp_path / "limits.json").read_text())["runtimes"]
    assert found["steps"]
    assert found["ended"] == "interrupted"
    assert not child.is_running()


def test_no_process_stays_when_its_parent_is_killed(bench: Any) -> None:
    process = bench.start("limits", "--threads=9000000", "--runtimes=capriccio")
    try:
        child = await_child(process.pid)
        await_threads(child)
    finally:
        process.kill()
        process.communicate()
    child.wait(60)


def await_child(pid: int) -> psutil.Process:
    """The process that makes the threads."""
    while True:
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.Error):  # others end before they are looked at
                if any("parked.py" in part for part in child.cmdline()):
                    return child
        os.sched_yield()


def await_threads(child: psutil.Process) -> None:
    """Until it has made some: its memory has grown."""
    while child.memory_info().rss < 40 << 20:
        os.sched_yield()


def test_a_runtime_that_is_missing_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capriccio_patch.bench.harness.runtimes.find_spec", lambda name: None)
    with Bars(1) as bars:
        found = limits.measure("gevent", 1000, bars)
    assert found["ended"] == "gevent is not installed; pip install gevent"
    assert found["steps"] == []
    assert "gevent is not installed" in limits.line(found)
    assert any("gevent is not installed" in line for line in limits.lines([found]))


def test_a_child_that_dies_is_told_of_and_its_steps_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = Children.read

    def kill(self: Children, seconds: float) -> Any:
        for child, message in read(self, seconds):
            yield child, message
            child.process.kill()

    monkeypatch.setattr(Children, "read", kill)
    with Bars(1) as bars:
        found = limits.measure("capriccio", 100_000, bars)
    assert "SIGKILL" in found["ended"]
    assert found["steps"]


@pytest.mark.parametrize("number", ["0", "-5", "many", "99000000000"])
def test_absurd_numbers_are_errors(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    limits.add_arguments(parser)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args([f"--threads={number}"])
    assert ended.value.code == 2
    assert "argument --threads" in capsys.readouterr().err


def test_the_conditions_name_the_settings_that_bound_threads() -> None:
    described = conditions.describe()
    if sys.platform == "linux":
        assert int(described["settings"]["vm.max_map_count"]) > 0
    assert dict(conditions.lines(described))["descriptors"].endswith("for each process")
