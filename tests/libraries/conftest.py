"""Libraries and servers that the tests of this folder use where they are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from glob import glob
from importlib.util import find_spec
from pathlib import Path

import pytest

INCLUDE = Path(sysconfig.get_path("include"))
COMPILER = (sysconfig.get_config_var("CC") or "gcc").split()


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skip a test where a library is not installed."""
    missing = [name for name in modules if find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@pytest.fixture(params=["auto", "python"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the compiled core, if there is one, whose hooks serve a library; and without."""
    form: str = request.param
    monkeypatch.setenv("CAPRICCIO_CORE", form)
    return form


needs_compiler = [
    pytest.mark.skipif(
        shutil.which(COMPILER[0]) is None or not (INCLUDE / "Python.h").exists(),
        reason="no C compiler",
    ),
    pytest.mark.skipif(find_spec("capriccio_patch.core._core") is None, reason="no compiled core"),
]
"""For tests with the module of waiting_calls.c."""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A folder with the module of waiting_calls.c, compiled with the options that are given."""

    @cache
    def build(*options: str) -> Path:
        folder = tmp_path_factory.mktemp("built")
        target = folder / f"waiting_calls{sysconfig.get_config_var('EXT_SUFFIX')}"
        flags = ["-O1", "-fPIC", "-shared", f"-I{INCLUDE}", f"-I{INCLUDE.parent}"]
        source = Path(__file__).parent / "waiting_calls.c"
        command = [*COMPILER, *flags, *options, str(source), "-o", str(target)]
        subprocess.run(command, check=True)
        return folder

    return build


def _programs() -> Path | None:
    found = [*glob("/usr/lib/postgresql/*/bin/initdb"), shutil.which("initdb")]
    return Path(found[0]).parent if found[0] is not None else None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _wait_for(server: subprocess.Popen[bytes], answers: Callable[[], bool]) -> None:
    """Until a server answers; it has a minute."""
    end = time.monotonic() + 60
    while not answers():
        assert server.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)


def _accepts(address: tuple[str, int] | str) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        return client.connect_ex(address) == 0


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """The path of the socket of a MariaDB server of the tests' own; skipped where there is none."""
    install, program = shutil.which("mariadb-install-db"), shutil.which("mariadbd")
    if install is None or program is None:
        pytest.skip("MariaDB is not installed")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        data, path = f"--datadir={folder}/data", f"{folder}/socket"
        options = ["--no-defaults", data]
        if os.getuid() == 0:  # it refuses to run as root, unless it is told
            options.append("--user=root")
        how = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(
            [install, *options, *how], check=True, capture_output=True, cwd=folder, timeout=100
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        where = ["--skip-networking", f"--socket={path}", f"--pid-file={folder}/pid"]
        server = subprocess.Popen([program, *options, *where], cwd=folder, **quiet)
        try:
            _wait_for(server, lambda: _accepts(path))
            yield path
        finally:
            server.kill()
            server.wait()


NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log stderr crit;
events {{}}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{behind}; }} }}
}}
"""


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The port of an nginx that passes requests on, and the port to which; skipped without one."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not installed")
    port, behind = _free_port(), _free_port()
    settings = tmp_path / "nginx.conf"
    settings.write_text(NGINX.format(folder=tmp_path, port=port, behind=behind))
    server = subprocess.Popen([program, "-c", settings, "-p", tmp_path])
    try:
        _wait_for(server, lambda: _accepts(("127.0.0.1", port)))
        yield port, behind
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The DSN of a PostgreSQL server of the tests' own; skipped where there is none."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    user = "postgres" if os.getuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        data = Path(folder) / "data"
        if user is not None:
            shutil.chown(folder, user)
        run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run
        initdb = [programs / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N"]
        run(initdb, check=True, stdout=subprocess.DEVNULL, user=user, cwd=folder)
        port = _free_port()
        options = ["-p", str(port), "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, *options],
            user=user,
            cwd=folder,
            stderr=subprocess.DEVNULL,
        )
        try:
            asks = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            _wait_for(server, lambda: run(asks).returncode == 0)
            yield f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
        finally:
            server.terminate()
            server.wait()
