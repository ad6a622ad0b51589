"""The audit judges rightly, and some rows of each family are cooperative.

The whole audit takes the better part of a minute: it runs where AUDIT_ALL is set, to the
options that it is to be given (``--diskio workers``, or a blank).
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from capriccio_patch import available_backends
from capriccio_patch.audit import report
from capriccio_patch.audit.__main__ import main
from capriccio_patch.audit.libraries import Installed, lines
from capriccio_patch.audit.rows import FAMILIES, all_rows
from capriccio_patch.audit.runner import Outcome, Result, Runner, Verdict, judge
from capriccio_patch.audit.scene import DELAY, Kind, Row, Scene

Audit = Callable[..., "subprocess.CompletedProcess[str]"]

_WELL = Outcome(outcome="1", waited=DELAY, gap=0.01, ticks=50, began=True)


@pytest.fixture
def audit(environ: dict[str, str], tmp_path: Path) -> Audit:
    """``audit(*options, status=0, env={})``: the finished run, its exit status asserted.

    It runs in an empty directory, and leaves that so.
    """

    def run(
        *options: str, status: int = 0, env: dict[str, str] | None = None, timeout: float = 100
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "capriccio_patch.audit", *options],
            env=environ | (env or {}),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        assert not list(tmp_path.iterdir())
        return done

    return run


def _rows(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads(done.stdout)["rows"]}


@pytest.mark.parametrize(
    ("patched", "stock", "verdict"),
    [
        ({}, {}, Verdict.COOPERATIVE),
        ({"gap": DELAY}, {}, Verdict.BLOCKS),
        ({"ticks": 0}, {}, Verdict.BLOCKS),
        ({"gap": DELAY, "waited": 4 * DELAY, "ticks": 100}, {}, Verdict.BLOCKS),
        ({}, {"gap": DELAY}, Verdict.COOPERATIVE),
        ({"outcome": "2"}, {}, Verdict.FAILS),
        ({"waited": 0.0, "gap": 0.0}, {}, Verdict.FAILS),
        ({}, {"waited": 0.0, "gap": 0.0}, Verdict.FAILS),
        ({"began": False}, {"began": False}, Verdict.FAILS),
        ({"outcome": "", "crash": "exit status -11"}, {}, Verdict.FAILS),
        ({}, {"outcome": "", "crash": "exit status -11"}, Verdict.FAILS),
        ({"outcome": "", "skip": "no such thing"}, {}, Verdict.FAILS),
        ({"hangs": True, "outcome": ""}, {}, Verdict.HANGS),
        ({}, {"hangs": True, "outcome": ""}, Verdict.HANGS),
        ({}, {"outcome": "", "skip": "no such thing"}, Verdict.SKIPPED),
    ],
)
def test_verdict(patched: dict[str, Any], stock: dict[str, Any], verdict: Verdict) -> None:
    judged, reason = judge(Kind.ENDED, replace(_WELL, **patched), replace(_WELL, **stock))
    assert judged is verdict
    assert bool(reason) is (verdict is not Verdict.COOPERATIVE) or verdict is Verdict.HANGS


def test_a_device_that_answers_at_once_tells_nothing() -> None:
    quick = replace(_WELL, waited=0.001, gap=0.001, ticks=0)
    assert judge(Kind.DEVICE, quick, quick)[0] is Verdict.SKIPPED
    slow = replace(_WELL, waited=0.08, gap=0.07, ticks=6)
    assert judge(Kind.DEVICE, slow, slow)[0] is Verdict.BLOCKS


def test_table_is_coloured_on_demand() -> None:
    result = Result(all_rows()[0], Verdict.COOPERATIVE, "", _WELL, _WELL)
    plain = report.line(result, 20, coloured=False)
    assert plain.split() == ["time.sleep", "cooperative", "10", "150", "150"]
    assert "\033[32mcooperative" in report.line(result, 20, coloured=True)


def _runs(monkeypatch: pytest.MonkeyPatch, *gaps: float) -> Result:
    """What is said of one row whose runs with the patch have these gaps."""
    left = [*gaps]

    def observe(self: Runner, row: Row, how: str, environ: dict[str, str]) -> Outcome:
        return replace(_WELL, gap=left.pop(0)) if how == "patched" else _WELL

    monkeypatch.setattr(Runner, "_observe", observe)
    (result,) = Runner({}).run(all_rows()[:1], 1, lambda result: None)
    assert not left
    return result


def test_a_row_that_looks_bad_is_run_again_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = _runs(monkeypatch, DELAY, 2 * DELAY, 0.01)
    assert result.verdict is Verdict.COOPERATIVE
    assert result.before == ("blocks no tick for 0.150 s", "blocks no tick for 0.300 s")
    assert "1 cooperative (1 of them not until run again, alone)" in report.summary([result])
    assert "0.150" in report.again(result)[0]

    result = _runs(monkeypatch, 0.01)
    assert not result.before
    assert "again" not in report.summary([result])


def test_a_row_that_blocks_each_time_is_said_to_block(monkeypatch: pytest.MonkeyPatch) -> None:
    result = _runs(monkeypatch, DELAY, DELAY, 2 * DELAY)
    assert result.verdict is Verdict.BLOCKS
    assert "0.300" in result.reason
    assert report.again(result) == []
    assert report.summary([result]).endswith("1 blocks")


@pytest.mark.wall_clock
@pytest.mark.parametrize("share", [1.0, 0.0])
def test_time_without_a_cpu_is_not_the_calls(share: float) -> None:
    """The call keeps the ticker off; `share` of that time the process could run and did not."""
    starved = 0.0
    scene = Scene(lambda: starved)

    def call() -> None:
        nonlocal starved
        begun = time.perf_counter()
        while (passed := time.perf_counter() - begun) < DELAY:
            pass
        starved += share * passed

    slept = threading.Event()
    with patch.object(time, "sleep", lambda seconds: slept.wait()):
        scene.wait(call)
    slept.set()
    assert scene.waited >= DELAY
    assert scene.longest < DELAY / 2 if share else scene.longest >= DELAY


def test_every_family_has_rows_and_every_row_a_name(audit: Audit) -> None:
    names = audit("--list").stdout.splitlines()
    assert len(set(names)) == len(names) == len(all_rows()) >= 90
    assert {row.module for row in all_rows()} == set(FAMILIES)


def test_some_of_each_family_are_cooperative(audit: Audit) -> None:
    patterns = [
        *("time.sleep", "a loop*", "threading.RLock", "socket.recv", "select.poll"),
        *(
            "os.write (pipe)",
            "os.open (fifo, to read)",
            "fcntl.flock",
            "print*",
            "input (pipe)",
            "sys.stdin.read",
        ),
        *("os.wait", "multiprocessing.Lock", "signal.pause", "ssl.SSLSocket.recv"),
        *("asyncio.run in two*", "http.client", "sqlite3.Connection.execute", "socket.getnameinfo"),
        *("os.pread", "os.stat", "os.close*", "os.DirEntry.stat", "io.FileIO.close*"),
        *("open (leased*", "socket.close*", "sqlite3.Blob*"),
    ]
    done = audit("--json", "--jobs", "4", "--only", *patterns)
    rows = _rows(done)
    assert len(rows) >= len(patterns)
    assert {row["verdict"] for row in rows.values()} <= {"cooperative", "skipped"}
    assert rows["socket.recv"]["result"] == rows["socket.recv"]["stock_result"] == "b'abc'"
    assert rows["socket.recv"]["time"] >= DELAY / 2


def test_schemes_are_passed_on(audit: Audit) -> None:
    names = {"sockio": "select", "diskio": "workers", "scheduler": "lifo"}
    options = [text for name, value in names.items() for text in (f"--{name}", value)]
    found = json.loads(audit("--json", "--only", "select.poll", *options).stdout)
    assert {name: found[name] for name in names} == names


def test_several_schemes_make_one_table(audit: Audit) -> None:
    settings = ("--sockio", "all", "--diskio", "all", "--only", "time.sleep")
    columns = json.loads(audit("--json", *settings).stdout)
    sockio = [column["sockio"] for column in columns]
    usable = [name for name, reason in available_backends().items() if reason is None]
    assert sockio[: len(usable)] == usable
    assert {"workers", "blocking"} <= {column["diskio"] for column in columns}
    assert all(column["rows"][0]["verdict"] == "cooperative" for column in columns)
    assert len({column["rows"][0]["stock_time"] for column in columns}) == 1  # run once

    pythons = ("--python", sys.executable, sys.executable)
    text = audit(*pythons, "--only", "select.devpoll", "time.sleep").stdout
    assert "time.sleep      + +" in text
    assert "select.devpoll  - -" in text
    assert "no select.devpoll here (2x)" in text


def test_a_bad_row_in_one_column_is_an_error(audit: Audit) -> None:
    env = {"CAPRICCIO_EXCLUDE": "os.read"}
    done = audit("--diskio", "all", "--again", "0", "--only", "os.read (pipe)", status=1, env=env)
    assert "os.read (pipe)  B" in done.stdout


def test_a_call_that_is_not_taken_over_blocks(audit: Audit) -> None:
    env = {"CAPRICCIO_EXCLUDE": "os.read"}
    done = audit("--json", "--only", "os.read (pipe)", "--again", "1", status=1, env=env)
    (row,) = _rows(done).values()
    assert row["verdict"] == "blocks"
    assert len(row["before"]) == 1
    assert row["gap"] >= 2 * DELAY  # nobody but an OS thread could end the wait
    assert row["result"] == row["stock_result"]


def test_a_row_that_does_not_end_tells_where_it_hangs(audit: Audit) -> None:
    done = audit("--only", "threading.Event.wait", "--limit", "0.1", "--again", "0", status=1)
    assert "hangs" in done.stdout
    assert "in wait" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("hangs")


def test_what_the_platform_lacks_is_skipped(audit: Audit) -> None:
    done = audit("--only", "select.devpoll")
    assert "skipped" in done.stdout
    assert "no select.devpoll here" in done.stdout


def test_stock_alone(audit: Audit) -> None:
    (row,) = _rows(audit("--stock", "--json", "--only", "os.read (pipe)")).values()
    assert row["verdict"] == "cooperative"


def test_a_pattern_without_rows_is_an_error(audit: Audit) -> None:
    assert "no row" in audit("--only", "nothing", status=2).stderr


@pytest.mark.timeout(600)
@pytest.mark.skipif("AUDIT_ALL" not in os.environ, reason="takes a minute; see above")
def test_all_rows(audit: Audit) -> None:
    options = shlex.split(os.environ["AUDIT_ALL"])
    assert len(_rows(audit("--json", *options, timeout=500))) >= 90


def test_libraries_are_shown(
    audit: Audit, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One of the standard library's, and one whose import fails."""
    site = tmp_path_factory.mktemp("site")
    suffix = EXTENSION_SUFFIXES[0]
    (site / f"broken{suffix}").write_text("")
    folder = site / "broken_binary-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-binary\nVersion: 1\n")
    (folder / "RECORD").write_text(f"broken{suffix},,\n")
    path = f"{site}:{environ['PYTHONPATH']}"
    done = audit("--libraries", "Broken-binary", "curses", "--json", env={"PYTHONPATH": path})
    told = json.loads(done.stdout)
    assert [*told] == ["broken-binary", "curses"]
    assert told["broken-binary"]["failed"].startswith("its import fails: ImportError: ")
    assert "park" in told["curses"]["curses"] or "failed" in told["curses"]


def test_a_library_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--libraries", "nosuch"]) == 2
    assert "nosuch" in capsys.readouterr().err


def test_the_table_of_libraries() -> None:
    libraries = [
        Installed("lib", ["lib"], {"lib": "parks in lib.wait", "lib._x": "left alone"}),
        Installed("numpy", ["numpy"]),
        Installed("broken", ["broken"], failed="its import fails"),
    ]
    assert [*lines(libraries)] == [
        "broken  its import fails",
        "lib     parks in lib.wait",
        "lib     lib._x: left alone",
        "others  nothing of it waits in C, as far as its imports tell: numpy",
    ]
