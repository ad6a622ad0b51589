"""The runtime's own numbers: none of the standard ones, and given up to who wants them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from capriccio_patch.cpython import originals
from capriccio_patch.io.reserved import (
    RESERVED,
    Own,
    above_others,
    above_standard,
    standard_kept_free,
)
from tests.conftest import SCHEMES, RunScript, with_scheme


@pytest.fixture
def fd() -> int:
    """A descriptor that nobody else closes."""
    return os.open(os.devnull, os.O_RDONLY)


def test_a_number_that_is_wanted_is_left(fd: int) -> None:
    moved: list[int] = []
    own = Own(fd, moved.append)
    assert RESERVED[fd] is own
    own.move()
    assert moved == [fd]
    assert fd not in RESERVED
    assert own.fd != fd
    assert os.path.sameopenfile(own.fd, fd)
    os.close(fd)
    os.close(own.release())
    assert own.fd not in RESERVED


def test_what_is_above_the_standard_numbers_stays(fd: int) -> None:
    assert above_standard(fd) == fd
    os.close(fd)


def test_keeping_them_free_costs_nothing_where_they_are_open() -> None:
    before = set(os.listdir("/dev/fd"))
    with standard_kept_free():
        assert set(os.listdir("/dev/fd")) == before
    assert set(os.listdir("/dev/fd")) == before


WITHOUT = """
import os, signal, threading
import capriccio_patch
capriccio_patch.patch_all()
done = threading.Event()
other = threading.Thread(target=done.wait, daemon=True)
other.start()
child = os.fork()  # which has schemes of its own
def taken():
    found = []
    for fd in (0, 1):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            pass
    return found
if not child:
    assert not taken(), taken()
    os._exit(7)
assert os.waitpid(child, 0)[1] == 7 << 8  # by a descriptor of the process
if hasattr(signal, "sigtimedwait"):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    os.kill(os.getpid(), signal.SIGUSR1)
    assert signal.sigtimedwait({signal.SIGUSR1}, 5).si_signo == signal.SIGUSR1
    assert signal.sigtimedwait({signal.SIGUSR1}, 0.01) is None
assert not taken(), taken()
assert [os.open(os.devnull, os.O_RDWR) for _ in range(2)] == [0, 1]
done.set()
other.join()
os.write(2, b"fine")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no procfs")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_closed_standard_numbers_are_the_programs(scheme: str, environ: dict[str, str]) -> None:
    """As a program finds them that a daemon has started."""
    command = ["sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-c", WITHOUT]
    environ |= {"PYTHONWARNINGS": "ignore"} | with_scheme(scheme)
    done: Any = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=environ, timeout=60)
    assert done.stderr == "fine"


def test_a_copy_is_made_of_what_was_opened_as_a_standard_number(environ: dict[str, str]) -> None:
    code = """
import os
from capriccio_patch.io.reserved import above_standard, standard_kept_free
fd = above_standard(os.open(os.devnull, os.O_RDONLY))
with standard_kept_free():
    other = os.open(os.devnull, os.O_RDONLY)
assert min(fd, other) > 2, (fd, other)
assert os.open(os.devnull, os.O_RDONLY) == 0
"""
    command = ["sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-c", code]
    subprocess.run(command, check=True, env=environ, timeout=60)


def test_no_place_for_a_copy_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []

    def refuse(*args: Any) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(originals, "fcntl", refuse)
    monkeypatch.setattr(originals, "close", closed.append)
    with pytest.raises(OSError, match="Too many"):
        above_standard(1)
    assert closed == [1]


def test_a_copy_above_those_of_programs(fd: int) -> None:
    high = above_others(fd)
    assert high > fd
    assert not os.get_inheritable(high)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)
    os.close(high)


BESIDE = """
import os, resource, threading
import capriccio_patch
{before}
capriccio_patch.patch_all(blocked="off")
done = threading.Event()
waiting = threading.Thread(target=done.wait, daemon=True)
waiting.start()
def opened():
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    sum(range(2000))
    return fd
first = opened()
found = {{opened() for _ in range(3000)}}
assert found == {{first}}, (found, first)
os.closerange(first, 2000)
assert {{opened() for _ in range(1000)}} == {{first}}
several = capriccio_patch.status()["processors"] > 1
if not os.fork():
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    if several:
        first = opened()  # those of the other kernels are closed
    os._exit({{opened() for _ in range(1000)}} != {{first}})
assert os.wait()[1] == 0
done.set()
waiting.join()
capriccio_patch.unpatch_all()
print(max(map(int, os.listdir("/proc/self/fd"))))
"""


@pytest.mark.one_processor
@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="no schedstat")
@pytest.mark.parametrize(
    "before", ["", "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))"], ids=["", "few numbers"]
)
def test_the_watchdog_takes_no_number(before: str, run_script: RunScript) -> None:
    """A program that opens a file gets the number that is lowest, whenever the watchdog looks."""
    done = run_script(BESIDE.format(before=before))
    assert int(done.stdout) < 10  # nothing is left open
