"""The paper's experiments: small real runs, what ends them early, what is refused and shown."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from capriccio_patch.bench import capacity, findings, load, options, results
from capriccio_patch.bench.harness import children, runtimes
from capriccio_patch.bench.harness.sequence import COMPLETE, INTERRUPTED

PLAIN = [sys.executable, "-c"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_server_and_clients_on_every_runtime_that_is_there(no_children: None) -> None:
    for name in runtimes.THREADED:
        if runtimes.missing(name):
            continue
        what = load.Load(150, name, delay=0.2, measured=1.0, addresses=options.default_network())
        record = load.run(what, lambda *_: None)
        assert record["ended"] == COMPLETE, record
        assert record["failures"] == {}
        found = results.summary(record, 2)
        assert 0 < found["requests"] <= 150 / 0.2 * 1.2
        assert found["os_threads"] >= (150 if name == "stock" else 1)
        assert max(record["columns"]["open"]) <= 150


def test_one_that_is_asked_for_and_then_refused_or_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    assert "pip install gevent" in (runtimes.missing("gevent") or "")
    assert runtimes.missing("stock") is None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("server", "--threads=-3"), "out of range"),
        (("server", "--threads=many"), "no number of threads"),
        (("server", "--delay=-1"), "out of range"),
        (("server", "--payload=0"), "no size"),
        (("server", "--threads=15000000"), "the largest that fits is"),
        (("server", "--port=65536"), "no port"),
        (("client", "--addresses=nonsense"), "nonsense"),
        (("paper", "--figure", "9.9"), "there is no figure"),
        (("report", "nowhere"), "no results can be read"),
    ],
)
def test_what_makes_no_sense_is_an_error_before_anything_starts(
    bench: Any, args: tuple[str, ...], said: str
) -> None:
    if args[0] in ("paper", "report"):
        pytest.importorskip("matplotlib")
    done = bench(*args, status=2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told_of(bench: Any, no_children: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = bench("server", "--threads=5", f"--port={listener.getsockname()[1]}", status=2)
    assert "Address already in use" in done.stderr


def test_clients_without_a_server_tell_what_failed(bench: Any, no_children: None) -> None:
    done = bench("client", "--threads=5", "--ports", free_port(), "--duration=1", status=1)
    assert "ECONNREFUSED" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_interrupted_leaves_no_process(
    bench: Any, no_children: None, number: signal.Signals
) -> None:
    with bench.start("server", "--threads=50", f"--port={free_port()}") as server:
        assert server.stdout
        assert "50 threads in 1 process" in server.stdout.readline()
        server.send_signal(number)
        assert server.wait(20) in (0, 130)


def test_a_server_ends_when_its_parent_is_killed(bench: Any) -> None:
    with bench.start("server", "--threads=50", f"--port={free_port()}") as server:
        assert server.stdout
        server.stdout.readline()
        (child,) = psutil.Process(server.pid).children()
        server.kill()
        child.wait(20)


@pytest.mark.wall_clock
def test_what_a_set_measured_till_it_was_interrupted_is_kept(
    bench: Any, no_children: None, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("rich")
    args = ("--threads=100", "--figure=7.1", "--runtimes", "capriccio", f"--output={tmp_path}")
    with bench.start("paper", "--quick", "--measured=60", *args) as paper:
        me = psutil.Process(paper.pid)
        deadline = time.monotonic() + 40
        while len(me.children()) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(3)  # something is measured meanwhile
        paper.send_signal(signal.SIGINT)
        said, errors = paper.communicate(timeout=60)
    assert paper.returncode == 130, errors
    assert "interrupted" in said
    record = json.loads((tmp_path / "load-capriccio-100-1s.json").read_text())
    assert record["ended"] == INTERRUPTED
    assert record["columns"]["second"]
    assert (tmp_path / "load-capriccio-100-1s.csv").read_text().startswith("second,answers,")
    assert "interrupted" in (tmp_path / "report.html").read_text()


def test_the_report_holds_its_pictures_and_the_papers_findings(
    bench: Any, no_children: None, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("rich")
    bench(
        "paper", "--quick", "--threads", 60, "--delay=0.3", "--delays", 0.6, "--measured=1",
        "--create=1000", "--figure", "7.1", "7.4", "7.5", "--runtimes", "capriccio",
        f"--output={tmp_path}",
    )  # fmt: skip
    page = (tmp_path / "report.html").read_text()
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert {"requests.png", "connections.png", "throughput.png", "delays.png"} < pictures
    assert {"server-60.png", "threads.png"} < pictures
    assert page.count("data:image/png;base64,") == len(pictures)
    assert not re.search(r"(src|href)=.?https?:", page)
    for text in (findings.REQUESTS, findings.LIMITS):
        assert text[:40] in page
    assert "kernel.pid_max" in page or sys.platform != "linux"
    again = bench("report", tmp_path)
    assert "report.html" in again.stdout


def test_results_lie_among_temporary_files_unless_told_otherwise(
    bench: Any, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("rich")
    args = ("--quick", "--figure", "7.1", "--threads=20", "--delay=0.2", "--runtimes", "threads")
    done = bench("paper", *args, "--measured=1", settings={"TMPDIR": str(tmp_path)})
    (folder,) = tmp_path.glob("capriccio-bench-*")
    assert f"report: {folder}/report.html" in done.stdout
    record = folder / "load-stock-20-0.2s.json"
    record.write_text(record.read_text().replace('"stock"', '"threads"'))  # as older ones have it
    bench("report", folder)
    assert "stock threads" in (folder / "report.html").read_text()


# -- what is counted -----------------------------------------------------------------------------


def totals(*rows: tuple[float, float]) -> results.Totals:
    found = results.Totals()
    for at, answers in rows:
        found.add({"time": at, "answers": answers, "bytes": 0, "open": 0})
    return found


def test_processes_are_added_up_at_whole_seconds() -> None:
    one = totals((100.5, 0), (101.5, 10), (102.5, 30))
    late = totals((100.0, 0), (102.0, 20))  # and nothing after that
    samples = [{"time": 100.0 + second, "memory": 7} for second in range(4)]
    columns = results.table(100.0, [], [one, late], samples, 0)["columns"]
    assert columns["second"] == [0, 1, 2, 3]
    assert columns["answers"] == [0, 5 + 10, 20 + 20, 30 + 20]
    assert columns["memory"] == [7] * 4


def test_a_percentile_is_within_a_tenth() -> None:
    took = {0: 50, 10: 49, 20: 1}
    assert results.percentile(took, 0.5) == pytest.approx(0.001)
    assert results.percentile(took, 0.99) == pytest.approx(0.001 * 1.1**10)
    assert results.percentile({}, 0.5) is None


def test_threads_are_spread_over_as_few_processes_as_hold_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "raise_descriptor_limit", lambda: 1200)
    monkeypatch.setattr(capacity, "_memory", lambda each: (10_000, "memory"))
    found = capacity.plan("capriccio", 2500, each=1000)
    assert found.servers == [834, 833, 833]
    assert found.clients == [834, 833, 833]
    with pytest.raises(capacity.TooLarge, match="largest that fits is 10,000"):
        capacity.plan("capriccio", 10_001)


def test_stock_threads_are_bounded_by_what_the_system_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capacity, "tasks_left", lambda: (3000, "kernel.pid_max"))
    with pytest.raises(capacity.TooLarge, match=r"kernel\.pid_max.*fits is 2,000"):
        capacity.plan("stock", 2001)
    assert capacity.plan("capriccio", 2001)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('print(\'{"error": "no port"}\', flush=True); import time; time.sleep(60)', "no port"),
        ("raise SystemExit('out of luck')", "ended with status 1: out of luck"),
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL (as the kernel does when memory"),
    ],
)
def test_a_child_that_fails_says_why(no_children: None, code: str, said: str) -> None:
    with children.Children() as processes:
        processes.start("server 1", [*PLAIN, code])
        with pytest.raises(children.ChildFailed) as caught:
            for _ in processes.read(30):
                pass
    assert said in str(caught.value)
    assert "server 1" in str(caught.value)


def test_a_run_whose_client_dies_keeps_what_it_measured(no_children: None) -> None:
    def kill_a_client(phase: str, part: float, so_far: dict[str, Any]) -> None:
        if part > 0.3:
            for child in psutil.Process().children():
                if child.status() == psutil.STATUS_ZOMBIE:  # killed before, and not yet noticed
                    continue
                if "paper_client.py" in " ".join(child.cmdline()):
                    child.kill()
                    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended

    record = load.run(load.Load(50, delay=0.2, measured=5.0), kill_a_client)
    assert record["ended"].startswith("client 0 was killed by SIGKILL")
    assert record["columns"]["answers"][-1] > 0


def test_a_child_without_memory_is_an_error(no_children: None) -> None:
    if sys.platform != "linux":
        pytest.skip("the limit of a process's memory holds on Linux")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (400 << 20,) * 2);"
        "import os; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    command = runtimes.command("stock", "paper_server.py", "--threads=2000")
    with children.Children() as processes:
        processes.start("server 1", [*PLAIN, code, *command[1:]])
        with pytest.raises(children.ChildFailed, match="can't be started"):
            for _ in processes.read(30):
                pass


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (options.threads, "15,000", "0"),
        (options.positive_seconds, "0.5", "nan"),
        (options.port, "0", "-1"),
        (options.network, "127.0.0.0/8", "127.0.0.1/32"),
    ],
)
def test_values_are_checked(check: Callable[[str], object], good: str, bad: str) -> None:
    check(good)
    with pytest.raises(argparse.ArgumentTypeError):
        check(bad)


def test_what_stops_os_threads_is_found_here() -> None:
    left, name = capacity.tasks_left()
    assert left > 0
    if sys.platform == "linux":
        assert name.startswith(("kernel.", "ulimit", "the cgroup"))
    assert capacity.per_server_process("capriccio") > 0
