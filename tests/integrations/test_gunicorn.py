"""gunicorn with the worker of `integrations.gunicorn`: real servers, real connections."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import ROOT
from tests.integrations.servers import Connection, Process, importing

installed = pytest.mark.skipif(find_spec("gunicorn") is None, reason="gunicorn is not installed")

WORKER = "capriccio_patch.integrations.gunicorn.Worker"
PLAIN = ("-m", "gunicorn", "--worker-class", WORKER)
CERTIFICATE = ROOT / "tests/wrappers/sockets/tls.pem"
APP = """\
import os, threading, time
import capriccio_patch
loaded_in = os.getpid()
met = threading.Barrier(50)
holds = threading.Event()

def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/meet":
        met.wait(60)
    elif path == "/hold":
        holds.set()
        while not os.path.exists("release"):
            time.sleep(0.01)
    elif path == "/held":
        holds.wait(60)
    elif path == "/stuck":
        capriccio_patch.original("time.sleep")(60)
    elif path == "/fails":
        raise RuntimeError("on purpose")
    by = capriccio_patch.status().get("patched_by")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()}, {loaded_in}, {by}\\n".encode()]
"""


class Server(Process):
    """gunicorn, which has begun to serve."""

    def __init__(self, directory: Path, environ: dict[str, str], *options: str) -> None:
        self.socket = directory / "socket"
        (directory / "app.py").write_text(APP)
        self._connections: list[Connection] = []
        self._tls: ssl.SSLContext | None = None
        if "--certfile" in options:
            self._tls = ssl.create_default_context(cafile=str(CERTIFICATE))
        if "-m" not in options:
            options = (*PLAIN, *options)
        command = [sys.executable, *options, "--bind", f"unix:{self.socket}"]
        super().__init__([*command, "app:app"], directory, environ)
        self.until(lambda: "Booting worker" in self.text())

    def connect(self) -> Connection:
        """A connection that stays open."""
        self._connections.append(Connection(self.socket, self._tls))
        return self._connections[-1]

    def end(self, others: str = r"\[(\d+)\] \[INFO\]") -> None:
        for connection in self._connections:
            connection.close()
        super().end(others)

    def once(self) -> str:
        """What a worker answers: its number, where the program was loaded, and what patched it."""
        connection = self.connect()
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.answer()
        connection.close()
        return answer.removeprefix("200 ")

    def worker(self) -> str:
        """The number of the process that answers."""
        return self.once().split(", ")[0]


Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path, environ: dict[str, str]) -> Iterator[Serve]:
    """A function: gunicorn with these options."""
    servers: list[Server] = []

    def start(*options: str) -> Server:
        servers.append(Server(tmp_path, environ, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


@installed
def test_a_thread_for_each_connection_which_stays_open(serve: Serve) -> None:
    """Fifty requests that wait for each other are served by one worker, twice each."""
    server = serve("--access-logfile", "-", "--threads", "8")
    connections = [server.connect() for _ in range(50)]
    for _ in range(2):
        for connection in connections:
            connection.ask("/meet")
        answers = {connection.answer() for connection in connections}
        assert len(answers) == 1
        assert answers.pop().endswith(", patch_all()")
    assert server.connect().get("/fails").startswith("500")
    server.stop()
    assert server.text().count('"GET /meet HTTP/1.1" 200') == 100
    assert server.text().count("--threads has no effect") == 1
    assert "RuntimeError: on purpose" in server.text()


@installed
def test_worker_connections_is_the_bound(serve: Serve) -> None:
    server = serve("--worker-connections", "2", "--keep-alive", "60")
    first, second, third = (server.connect() for _ in range(3))
    first.get()
    second.get()
    third.ask("/")
    third.sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        third.sock.recv(1)
    third.sock.settimeout(30)
    first.close()
    assert third.answer().startswith("200")


@installed
def test_a_request_under_way_is_answered_and_idle_connections_are_closed(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve("--keep-alive", "60")
    under_way, idle = server.connect(), server.connect()
    under_way.ask("/hold")
    idle.get("/held")
    server.process.send_signal(signal.SIGTERM)
    assert idle.sock.recv(1) == b""
    (tmp_path / "release").touch()
    assert under_way.answer().startswith("200")
    assert server.process.wait(30) == 0


@installed
def test_the_patience_with_requests_under_way_ends(serve: Serve) -> None:
    server = serve("--graceful-timeout", "1")
    under_way = server.connect()
    under_way.ask("/hold")
    server.connect().get("/held")
    server.stop()


@installed
def test_it_quits_at_once_when_told_to(serve: Serve) -> None:
    server = serve()
    under_way = server.connect()
    under_way.ask("/hold")
    server.connect().get("/held")
    server.stop(signal.SIGQUIT)


@installed
def test_an_idle_connection_is_closed_after_its_time(serve: Serve) -> None:
    """One that has asked, and one that never does."""
    server = serve("--keep-alive", "1")
    connection = server.connect()
    connection.get()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(30)
        silent.connect(str(server.socket))
        assert (connection.sock.recv(1), silent.recv(1)) == (b"", b"")


@installed
def test_a_worker_ends_after_its_last_request(serve: Serve) -> None:
    server = serve("--max-requests", "3")
    pids = {server.worker() for _ in range(3)}
    assert len(pids) == 1
    server.until(lambda: server.text().count("Booting worker") == 2)
    assert server.worker() not in pids


@installed
def test_several_workers_share_a_listener(serve: Serve) -> None:
    """And a program that was loaded before they were."""
    server = serve("--workers", "2", "--preload")
    answering: set[str] = set()

    def both() -> bool:
        answering.add(server.once())
        return len(answering) == 2

    server.until(both)
    assert {each.split(", ")[1] for each in answering} == {str(server.process.pid)}
    assert {each.split(", ")[2] for each in answering} == {"patch_all()"}
    server.stop()


@installed
def test_tls(serve: Serve) -> None:
    server = serve("--certfile", str(CERTIFICATE))
    connection = server.connect()
    assert [connection.get()[:3] for _ in range(2)] == ["200", "200"]
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(30)
        plain.connect(str(server.socket))
        plain.sendall(b"no handshake\r\n\r\n")
        try:
            while plain.recv(100):
                pass
        except ConnectionResetError:
            pass
    assert server.connect().get().startswith("200")
    server.stop()


@installed
def test_a_changed_program_is_loaded_again(serve: Serve, tmp_path: Path) -> None:
    server = serve("--reload", "--reload-engine", "poll")
    before = server.worker()
    (tmp_path / "app.py").write_text(f"{APP}# changed\n")
    times = count(2**31)

    def loaded() -> bool:
        os.utime(tmp_path / "app.py", (1, next(times)))  # it may not have looked for the first time
        return server.text().count("Booting worker") == 2

    server.until(loaded)
    assert server.worker() != before


@installed
def test_a_worker_that_gives_no_sign_of_life_is_replaced(serve: Serve) -> None:
    server = serve("--timeout", "1")
    before = server.worker()
    server.connect().ask("/stuck")
    server.until(lambda: server.text().count("Booting worker") == 2)
    assert "WORKER TIMEOUT" in server.text()
    assert server.worker() != before


@installed
def test_a_new_master_is_patched_as_the_old_one_is(serve: Serve) -> None:
    """After SIGUSR2, which has gunicorn execute its interpreter again; gthread as it is, too."""
    server = serve("-m", "capriccio_patch", "-m", "gunicorn", "-k", "gthread", "--threads", "9")
    old = server.once()
    assert old.endswith("python -m capriccio_patch")
    server.process.send_signal(signal.SIGUSR2)
    server.until(lambda: server.text().count("Booting worker") == 2)
    server.stop()
    assert server.once().endswith("parent process")


@installed
@pytest.mark.parametrize(
    ("parts", "sends"),
    [
        ([b"one", b"two"], ["head+one", "two"]),
        ([b"", b"one"], ["head+", "one"]),  # who writes nothing wants the head to go out
        ([b"x" * 100_000], ["head+", "x" * 100_000]),
    ],
    ids=["small", "empty", "large"],
)
def test_the_head_goes_out_with_the_first_part(parts: list[bytes], sends: list[str]) -> None:
    from gunicorn.config import Config
    from gunicorn.http import wsgi

    from capriccio_patch.integrations.gunicorn import _response_of

    sent: list[bytes] = []
    request = SimpleNamespace(method="GET", version=(1, 1), should_close=lambda: False)
    response = _response_of(wsgi.Response)(request, SimpleNamespace(sendall=sent.append), Config())
    response.start_response("200 OK", [("Content-Length", str(sum(map(len, parts))))])
    for part in parts:
        response.write(part)
    head = sent[0].partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    sent[0] = sent[0].replace(head + b"\r\n\r\n", b"head+")
    assert [each.decode() for each in sent if each] == sends


@installed
def test_the_date_is_made_once_a_second() -> None:
    from gunicorn import util

    from capriccio_patch.integrations.gunicorn import _once_a_second

    made: list[float] = []

    def http_date(second: float) -> str:
        made.append(second)
        return str(util.http_date(second))

    date = _once_a_second(http_date)
    assert [date(0.2), date(0.9), date(1.1)] == [util.http_date(second) for second in (0, 0, 1)]
    assert made == [0, 1]


@installed
@pytest.mark.newest
def test_a_setting_that_is_invalid_is_told_of_in_one_line(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    server = Server(tmp_path, environ | {"CAPRICCIO_SLICE": "soon"})
    assert server.process.wait(30) == 3
    (line,) = [each for each in server.text().splitlines() if "CAPRICCIO_SLICE" in each]
    assert "capriccio_patch: CAPRICCIO_SLICE='soon': must be" in line
    assert "Traceback" not in server.text()


@installed
def test_a_gunicorn_that_is_old_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what gunicorn calls first, because a traceback is what it makes of an import's error."""
    from capriccio_patch.integrations import gunicorn

    gunicorn.Worker.setup()
    monkeypatch.setattr(gunicorn, "version_info", (20, 1, 0))
    with pytest.raises(SystemExit) as caught:
        gunicorn.Worker.setup()
    name = "capriccio_patch.integrations.gunicorn"
    assert caught.value.code == f"{name}: needs gunicorn 21 or newer, found 20.1.0"


def test_a_gunicorn_that_is_missing_is_told_of(tmp_path: Path, environ: dict[str, str]) -> None:
    (tmp_path / "gunicorn.py").write_text("raise ImportError")
    done = importing("gunicorn", tmp_path, environ)
    expected = "capriccio_patch.integrations.gunicorn: gunicorn is not installed\n"
    assert (done.returncode, done.stderr) == (1, expected)
