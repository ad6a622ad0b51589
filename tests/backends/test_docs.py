"""The example of docs/backends.md does what the text says."""

from __future__ import annotations

import re
import select
import tomllib
from pathlib import Path
from typing import Any

import pytest

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "backends.md").read_text()
PROGRAM = """
    import os, select, socket, subprocess, sys, threading, time
    import capriccio_patch
    from tests.inside import applied
    {begin}
    assert capriccio_patch.status()["sockio"] == "counting"

    def echo(connection):
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    def check():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname(), timeout=20)
            thread = threading.Thread(target=echo, args=(listener.accept()[0],))
            thread.start()
            for number in range(20):
                client.sendall(b"%d" % number)
                assert client.recv(100) == b"%d" % number
            client.close()
            thread.join()
        assert subprocess.run(["true"]).returncode == 0
        reader, writer = os.pipe()
        threading.Timer(0.01, os.write, (writer, b"x")).start()
        assert select.select([reader], [], [], 20)[0] == [reader]
        assert applied().runtime.kernel.backend.polls > 0

    check()
    pid = os.fork()
    if not pid:
        check()
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    print("done")
"""


def block(language: str) -> str:
    """The only block of code in a language."""
    [found] = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll")
@pytest.mark.parametrize("installed", [False, True])
def test_the_example_runs(
    run_script: Any, tmp_path: Path, environ: dict[str, str], installed: bool
) -> None:
    """Registered by the program, and as an installed package offers it."""
    folder = tmp_path / "installed"
    info = folder / "counting-1.0.dist-info"
    info.mkdir(parents=True)
    code = block("python")
    if installed:
        code = code.replace('capriccio_patch.register_backend("counting", CountingBackend)\n', "")
        groups = tomllib.loads(block("toml"))["project"]["entry-points"]
        lines = [
            line
            for group, entries in groups.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
        ]
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join(lines))
    (folder / "counting_scheme.py").write_text(code)
    begin = "" if installed else "import counting_scheme; "
    program = PROGRAM.format(begin=f'{begin}capriccio_patch.patch_all(sockio="counting")')
    done = run_script(program, env={"PYTHONPATH": f"{environ['PYTHONPATH']}:{folder}"})
    assert done.stdout == "done\n"


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="no epoll")
def test_the_example_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few points that are easily got wrong; the suite of the contract has them all."""
    import os

    from capriccio_patch.backends import sockets
    from capriccio_patch.contracts.descriptor import READ, Descriptor

    monkeypatch.setattr(sockets.REGISTRY, "classes", dict(sockets.REGISTRY.classes))
    exec(block("python"), {})
    backend = sockets.create_backend("counting")
    reader, writer = os.pipe()
    try:
        os.write(writer, b"x")
        d = Descriptor(reader)
        for _ in range(2):
            assert backend.add_request(d, READ) == 0
            assert backend.poll(5) == [(reader, READ)]
            assert backend.poll(0) == []
        backend.notify()
        backend.poll(None)
    finally:
        backend.close()
        os.close(reader)
        os.close(writer)


def test_the_text_names_every_scheme() -> None:
    from capriccio_patch.backends.sockets import PREFERRED, available_backends

    for name in available_backends():
        assert f"| `{name}`" in TEXT
    assert ", ".join(f"`{name}`" for name in PREFERRED) in TEXT
