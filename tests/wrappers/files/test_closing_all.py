"""A program that closes what it did not open leaves the runtime working, and finds nothing odd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch.backends.disk import available_disk_backends
from capriccio_patch.backends.sockets import available_backends
from tests.conftest import SCHEMES, with_scheme

_PROGRAM = """
import os, socket, sys, threading, time
import capriccio_patch
capriccio_patch.patch_all()
from capriccio_patch.io.reserved import RESERVED
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
assert set(RESERVED) == before
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


_TAKER = """
import os, signal, socket, subprocess, sys, threading, time
import capriccio_patch
capriccio_patch.patch_all()
from capriccio_patch.io.reserved import RESERVED
here, there = socket.socketpair()
reader, writer = os.pipe()
null = os.open(os.devnull, os.O_RDWR)
outside = capriccio_patch.original("_thread.start_new_thread")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

def waits(call, end, expected):
    "A wait that begins now, and what checks that it ends as it should."
    got = []
    thread = threading.Thread(target=lambda: got.append(call()), daemon=True)
    thread.start()
    time.sleep(0.005)
    def check():
        end()
        thread.join(10)
        assert got == [expected], (got, expected)
    return check

def take(number, how):
    if how == "here":
        return os.dup2(null, number)
    done, box = threading.Event(), []
    def call():
        try:
            box.append(os.dup2(null, number))
        except BaseException as error:
            box.append(error)
        done.set()
    outside(call, ())
    done.wait(10)
    return box[0]

for how in ("here", "there"):
    child = subprocess.Popen(["sleep", "1000"])
    checks = [
        waits(lambda: here.recv(9), lambda: there.send(b"abc"), b"abc"),
        waits(lambda: os.read(reader, 9), lambda: os.write(writer, b"def"), b"def"),
        waits(child.wait, child.kill, -signal.SIGKILL),
        waits(lambda: signal.sigwait([signal.SIGUSR1]),
              lambda: os.kill(os.getpid(), signal.SIGUSR1), signal.SIGUSR1),
    ]
    numbers = list(RESERVED)
    assert len(numbers) >= 2
    for number in numbers:
        assert take(number, how) == number
        assert number not in RESERVED
        assert os.path.samestat(os.fstat(number), os.stat(os.devnull))
    for check in checks:
        check()
    with open(sys.argv[0]) as file:
        assert file.read()
    for number in numbers:
        assert os.path.samestat(os.fstat(number), os.stat(os.devnull))
        os.close(number)

number = next(iter(RESERVED))
try:
    os.dup2(1000, number)
except OSError as error:
    assert error.errno == 9
try:
    os.fstat(number)
except OSError as error:
    assert error.errno == 9
capriccio_patch.unpatch_all()
assert not RESERVED
print("done")
"""


@pytest.mark.parametrize("sockio", SCHEMES)
def test_a_number_that_the_program_wants_is_given_to_it(
    run_script: Callable[..., Any], sockio: str
) -> None:
    """By dup2, on either kind of thread, while others wait for what the number stands for."""
    assert run_script(_TAKER, env=with_scheme(sockio)).stdout == "done\n"


@pytest.mark.parametrize("diskio", DISKIO)
def test_that_of_a_scheme_for_files_too(run_script: Callable[..., Any], diskio: str) -> None:
    assert run_script(_TAKER, env={"CAPRICCIO_DISKIO": diskio}).stdout == "done\n"
