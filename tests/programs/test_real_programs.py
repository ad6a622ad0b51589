"""Unmodified servers and clients, each in its own interpreter, as users run them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SCHEMES, with_scheme

SLOW_SERVER = """
    import sys, time
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_GET(self):
            time.sleep(0.5)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")
        def log_message(self, *args): pass
    class Server(ThreadingHTTPServer):
        request_queue_size = 512
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
"""

FILE_SERVER = """
    import os, sys
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
    class Server(ThreadingHTTPServer):
        request_queue_size = 512
    os.chdir(os.path.dirname(__file__))
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
"""

FLASK_SERVER = """
    import sys, time
    from flask import Flask
    from werkzeug.serving import make_server
    app = Flask(__name__)
    @app.get("/<path:name>")
    def slow(name):
        time.sleep(0.5)
        return "ok"
    server = make_server("127.0.0.1", 0, app, threaded=True)
    server.socket.listen(512)
    print(server.server_port, flush=True)
    server.serve_forever()
"""

CHEROOT_SERVER = """
    import sys, time
    from cheroot import wsgi
    def app(environ, start_response):
        time.sleep(0.5)
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    server = wsgi.Server(("127.0.0.1", 0), app, numthreads=100, request_queue_size=512)
    server.prepare()
    print(server.bind_addr[1], flush=True)
    server.serve()
"""

DOWNLOAD = """
    import sys, time
    import requests                                  # before the patch, on purpose
    from concurrent.futures import ThreadPoolExecutor
    import capriccio_patch
    capriccio_patch.patch_all()
    assert capriccio_patch.status()["sockio"] == sys.argv[1]
    import psutil
    def fetch(i):
        return requests.get(f"http://127.0.0.1:{sys.argv[2]}/{i}", timeout=30).text
    count = int(sys.argv[3])
    with ThreadPoolExecutor(count) as pool:
        assert set(pool.map(fetch, range(count))) == {"ok"}
        print(psutil.Process().num_threads(), capriccio_patch.status()["os_threads"])
"""


@contextmanager
def serving(code: str, tmp_path: Path, environ: dict[str, str], *options: str) -> Iterator[int]:
    """A server program run by ``python -m capriccio_patch``; yields its port."""
    import textwrap

    script = tmp_path / "server.py"
    script.write_text(textwrap.dedent(code))
    process = subprocess.Popen(
        [sys.executable, "-m", "capriccio_patch", *options, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environ,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.wall_clock
@pytest.mark.parametrize(
    ("code", "needs"),
    [(SLOW_SERVER, None), (FLASK_SERVER, "flask"), (CHEROOT_SERVER, "cheroot")],
    ids=["http.server", "flask", "cheroot"],
)
def test_servers_answer_many_at_once(
    code: str,
    needs: str | None,
    scheme: str,
    tmp_path: Path,
    environ: dict[str, str],
    run_script: Any,
) -> None:
    pytest.importorskip("requests")
    if needs:
        pytest.importorskip(needs)
    with serving(code, tmp_path, environ | with_scheme(scheme)) as port:
        begun = time.monotonic()
        done = run_script(DOWNLOAD, scheme, str(port), "100", env=with_scheme(scheme))
        # One after the other they would take 50 s.
        assert time.monotonic() - begun < 25
    seen, helpers = map(int, done.stdout.split())
    assert seen - helpers < 4  # the client's one OS thread, and workers that have just ended
    # The watchdog's, the thread scheme's, and workers: for names, and for files without RWF_NOWAIT.
    # Each further kernel has those too.
    others = 3 * (int(environ.get("CAPRICCIO_PROCESSORS", "1")) - 1)
    assert helpers < others + (10 if hasattr(os, "RWF_NOWAIT") and scheme != "kqueue" else 70)


@pytest.mark.parametrize("scheduler", ["lifo", "priority", "graph", "random"])
@pytest.mark.parametrize(
    ("code", "needs"),
    [(SLOW_SERVER, None), (FLASK_SERVER, "flask"), (CHEROOT_SERVER, "cheroot")],
    ids=["http.server", "flask", "cheroot"],
)
def test_under_every_scheduler(
    code: str,
    needs: str | None,
    scheduler: str,
    tmp_path: Path,
    environ: dict[str, str],
    run_script: Any,
) -> None:
    """Both sides of the connections, with `requests` on the client's."""
    pytest.importorskip("requests")
    if needs:
        pytest.importorskip(needs)
    env = {"CAPRICCIO_SCHEDULER": scheduler} | with_scheme("poll")
    with serving(code, tmp_path, environ | env) as port:
        run_script(DOWNLOAD, "poll", str(port), "30", env=env)


def test_keep_alive_connections_of_the_stock_server(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    (tmp_path / "index.html").write_text("hello")
    with serving(FILE_SERVER, tmp_path, environ) as port:
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        for _ in range(3):
            for connection in connections:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for connection in connections:
                answer = b""
                while not answer.endswith(b"hello"):
                    received = connection.recv(4096)
                    assert received
                    answer += received
                assert answer.startswith(b"HTTP/1.1 200 ")
        for connection in connections:
            connection.close()


def test_ten_thousand_threads_in_one_os_thread(run_script: Any) -> None:
    done = run_script(
        """
        import threading, time
        import psutil
        import capriccio_patch
        capriccio_patch.patch_all()
        end = threading.Event()
        threads = [threading.Thread(target=end.wait) for _ in range(10_000)]
        for thread in threads:
            thread.start()
        for _ in range(100):  # one may just begin, or end
            time.sleep(0.01)
            seen = psutil.Process().num_threads()
            helpers = capriccio_patch.status()["os_threads"]
            if seen == 1 + helpers:
                break
        assert threading.active_count() == 10_001, threading.active_count()
        end.set()
        for thread in threads:
            thread.join()
        print(seen, helpers, capriccio_patch.status()["processors"])
        """
    )
    seen, helpers, processors = map(int, done.stdout.split())
    assert seen == 1 + helpers
    others = 2 * (processors - 1)  # each with its watchdog
    assert helpers < 4 + others  # the watchdog; what reads a file for psutil
