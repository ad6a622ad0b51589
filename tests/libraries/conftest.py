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
        shutil.which("gcc") is None or not (INCLUDE / "Python.h").exists(), reason="no C compiler"
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
        command = ["gcc", *flags, *options, str(source), "-o", str(target)]
        subprocess.run(command, check=True)
        return folder

    return build


def _programs() -> Path | None:
    found = [*glob("/usr/lib/postgresql/*/bin/initdb"), shutil.which("initdb")]
    return Path(found[0]).parent if found[0] is not None else None


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
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["-p", str(port), "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, *options],
            user=user,
            cwd=folder,
            stderr=subprocess.DEVNULL,
        )
        try:
            while run(
                [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            ).returncode:
                assert server.poll() is None
                time.sleep(0.05)
            yield f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
        finally:
            server.terminate()
            server.wait()
