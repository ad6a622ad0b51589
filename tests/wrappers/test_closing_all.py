"""A program that closes what it did not open leaves the runtime working, and finds nothing odd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch.backends import available_backends
from capriccio_patch.backends.disk import available_disk_backends

_PROGRAM = """
import os, socket, sys, threading, time
import capriccio_patch
capriccio_patch.patch_all()
from capriccio_patch.runtime.reserved import RESERVED
reader, writer = os.pipe()
before = set(RESERVED)
assert before
if sys.argv[1] == "range":
    os.closerange(3, 1 << 20)
else:
    for fd in range(3, 256):
        try:
            os.close(fd)
        except OSError as error:
            assert error.errno == 9, error
for fd in (reader, writer):
    try:
        os.fstat(fd)
    except OSError:
        pass
    else:
        raise SystemExit("still open")
assert RESERVED == before
here, there = socket.socketpair()
got = []
thread = threading.Thread(target=lambda: got.append(here.recv(10)))
thread.start()
time.sleep(0.01)
there.send(b"abc")
thread.join()
with open(sys.argv[0]) as file:
    assert file.read()
capriccio_patch.unpatch_all()
assert not RESERVED
print(got)
"""

SOCKIO = [name for name, reason in available_backends().items() if reason is None]
DISKIO = [name for name, reason in available_disk_backends().items() if reason is None]


@pytest.mark.parametrize("how", ["range", "one by one"])
@pytest.mark.parametrize("sockio", SOCKIO)
def test_a_program_becomes_a_daemon(run_script: Callable[..., Any], sockio: str, how: str) -> None:
    done = run_script(_PROGRAM, how, env={"CAPRICCIO_SOCKIO": sockio})
    assert done.stdout == "[b'abc']\n"


@pytest.mark.parametrize("diskio", DISKIO)
def test_files_are_read_afterwards(run_script: Callable[..., Any], diskio: str) -> None:
    done = run_script(_PROGRAM, "range", env={"CAPRICCIO_DISKIO": diskio})
    assert done.stdout == "[b'abc']\n"
