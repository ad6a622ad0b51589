"""Calls of libc by a C library of the tests' own park, and behave as under stock.

A wait that did not park would be a dead end: what it waits for is done by another green thread.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from capriccio_patch.libraries.hooks import DENIED, Hooks, denied
from tests.libraries.conftest import needs_compiler

BOUND = {
    "lazily": ("-Wl,-z,lazy",),
    "at once, read-only": ("-Wl,-z,now,-z,relro",),
    "with C++'s": ("-DGUARDED", "-Wl,--no-as-needed", "-l:libstdc++.so.6"),
    "without stubs": ("-fno-plt", "-Wl,-z,now,-z,relro"),
}

pytestmark = needs_compiler

HEAD = """
import os, socket, sys, threading, time
import capriccio_patch
capriccio_patch.patch_all()
import waiting_calls
from waiting_calls import call
told = capriccio_patch.status()["libraries"]["waiting_calls"]
assert " park in " in told, told

def waits(name, a, b, act):
    # What `name` returns, which waits until `act` has been called by another thread.
    result = []
    def make():
        try:
            result.append(call(name, a, b))
        except BaseException as error:
            result.append(error)
    thread = threading.Thread(target=make)
    thread.start()
    for _ in range(3):
        time.sleep(0.001)
    assert not result, (name, result)
    act()
    thread.join()
    return result[0]
"""


@pytest.fixture(params=["named", "untried"])
def run(request: Any, run_script: Any, built: Any, environ: dict[str, str]) -> Any:
    """Runs a program that has the module, and `HEAD`; with the module named, and without."""

    def run(code: str, way: str = "lazily", **named: Any) -> Any:
        path = f"{built(*BOUND[way])}:{environ['PYTHONPATH']}"
        env = {"PYTHONPATH": path, "CAPRICCIO_CORE": "compiled"}
        if request.param == "named":
            env["CAPRICCIO_NATIVE"] = "waiting_calls"
        return run_script(HEAD + code, env=env, timeout=30, **named)

    return run


@pytest.mark.parametrize("way", BOUND)
def test_waits_for_descriptors(run: Any, way: str) -> None:
    run(
        """
for name in ("poll", "poll_by_table", "ppoll", "select", "epoll_wait", "epoll_pwait"):
    a, b = socket.socketpair()
    assert waits(name, a.fileno(), -1, lambda: b.send(b"x")) == 1, name
    assert call(name, a.fileno(), 0) == 1
    a.recv(1)
    start = time.monotonic()
    assert call(name, a.fileno(), 20) == 0
    assert time.monotonic() - start >= 0.02
    assert waits(name, a.fileno(), -1, lambda: b.close()) == 1
    a.close()
""",
        way,
    )


def test_what_is_received(run: Any) -> None:
    run(
        """
for name in ("recv", "recvfrom", "recvmsg", "read", "readv"):
    a, b = socket.socketpair()
    fd = a.fileno()
    assert waits(name, fd, 100, lambda: b.send(b"12345")) == 5, name
    a.setblocking(False)
    try:
        call(name, fd, 100)
    except BlockingIOError:
        pass
    else:
        raise AssertionError(name)
    a.setblocking(True)
    assert waits(name, fd, 100, b.close) == 0
    a.close()
a, b = socket.socketpair()
def in_parts():
    for _ in range(10):
        b.send(b"0123456789")
        time.sleep(0.001)
assert waits("recv_all", a.fileno(), 100, in_parts) == 100
import struct
a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 20000))
try:
    call("recv", a.fileno(), 1)
except BlockingIOError:
    pass
else:
    raise AssertionError
r, w = os.pipe()
assert waits("read", r, 10, lambda: os.write(w, b"abc")) == 3
assert waits("readv", r, 10, lambda: os.write(w, b"abcde")) == 5
assert waits("read", r, 10, lambda: os.close(w)) == 0
try:
    call("read", 999, 1)
except OSError as error:
    assert error.errno == 9
"""
    )


def test_what_is_sent(run: Any) -> None:
    run(
        """
SIZE = 1 << 21
def drain(read):
    got = 0
    while got < SIZE:
        got += len(read())
for name in ("send", "sendto", "sendmsg", "write", "writev"):
    a, b = socket.socketpair()
    assert waits(name, a.fileno(), SIZE, lambda: drain(lambda: b.recv(65536))) == SIZE, name
    a.setblocking(False)
    assert 0 < call(name, a.fileno(), SIZE) < SIZE
    a.close(), b.close()
r, w = os.pipe()
assert waits("write", w, SIZE, lambda: drain(lambda: os.read(r, 65536))) == SIZE
with open(__file__ + ".out", "wb") as file:
    assert call("write", file.fileno(), 10) == call("writev", file.fileno(), 10) == 10
"""
    )


def test_connections(run: Any) -> None:
    run(
        """
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
for name in ("accept", "accept4"):
    client = socket.socket()
    fd = waits(name, server.fileno(), 0, lambda: client.connect(("127.0.0.1", port)))
    os.close(fd), client.close()
client = socket.socket()
assert call("connect", client.fileno(), port) == 0
assert client.getpeername()[1] == port
assert os.get_blocking(client.fileno())
client.close(), server.close()
client = socket.socket()
try:
    call("connect", client.fileno(), port)
except ConnectionRefusedError:
    pass
else:
    raise AssertionError
number = os.getpid()
server = socket.socket(socket.AF_UNIX)
server.bind("\\0waiting-%d" % number)
server.listen(0)
first, second = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
first.connect("\\0waiting-%d" % number)
assert waits("connect_unix", second.fileno(), number, server.accept) == 0
"""
    )


def test_time_names_children_and_files(run: Any) -> None:
    run(
        """
for name, time_ in (("nanosleep", 20), ("clock_nanosleep", 20), ("usleep", 20), ("sleep", 1000)):
    ticks = []
    thread = threading.Thread(target=lambda: [ticks.append(time.sleep(0.001)) for _ in range(5)])
    start = time.monotonic()
    thread.start()
    assert call(name, 0, time_) == 0
    assert time.monotonic() - start >= time_ / 1000
    assert ticks, name
    thread.join()
keep = threading.Event()
thread = threading.Thread(target=keep.wait)
thread.start()
assert call("getaddrinfo", 0, 0) == 0
r, w = os.pipe()
pid = os.fork()
if not pid:
    os.read(r, 1)
    os._exit(7)
assert waits("waitpid", pid, 0, lambda: os.write(w, b"x")) == 7
try:
    call("waitpid", pid, 0)
except ChildProcessError:
    pass
import fcntl
one, other = open(__file__), open(__file__)
fcntl.flock(one, fcntl.LOCK_EX)
assert waits("flock", other.fileno(), 0, lambda: fcntl.flock(one, fcntl.LOCK_UN)) == 0
keep.set()
""",
        options=("-W", "ignore::DeprecationWarning"),
    )


def test_mutexes_keep_green_threads_apart(run: Any) -> None:
    run(
        """
for kind in (0, 1):  # plain, recursive
    r, w = os.pipe()
    done = []
    holder = threading.Thread(target=lambda: done.append(call("read_locked", r, kind)))
    holder.start()
    time.sleep(0.005)
    def enter():
        call("lock", kind, 0)
        done.append("other")
        call("unlock", kind, 0)
    other = threading.Thread(target=enter)
    other.start()
    time.sleep(0.005)
    assert done == [], done
    if kind:
        assert call("trylock", kind, 0) == 16  # EBUSY
    os.write(w, b"x")
    holder.join()
    other.join()
    assert done == [1, "other"], done
assert call("lock", 1, 0) == call("lock", 1, 0) == 0
assert call("unlock", 1, 0) == call("unlock", 1, 0) == 0
waiting_calls.acquire()
def enter():
    waiting_calls.acquire()
    done.append("acquired")
other = threading.Thread(target=enter)
other.start()
time.sleep(0.005)
assert done[-1] == "other"
waiting_calls.release()
other.join()
assert done[-1] == "acquired"
"""
    )


def test_a_wait_far_down_the_stack_parks(run: Any) -> None:
    """The stack of a process grows while it runs."""
    run(
        """
import functools
def deep(levels, r):
    if levels:
        return functools.reduce(lambda _, left: deep(left, r), [None, levels - 1])
    return call("read", r, 1)
sys.setrecursionlimit(20000)
r, w = os.pipe()
threads = [threading.Thread(target=lambda: results.append(deep(levels, r))) for levels in (1, 300)]
results = []
for thread in threads:
    thread.start()
time.sleep(0.01)
assert results == []
os.write(w, b"xx")
for thread in threads:
    thread.join()
assert results == [1, 1]
"""
    )


def test_identities_are_those_of_green_threads(run: Any) -> None:
    run(
        """
idents = {}
def note():
    idents[threading.get_ident()] = waiting_calls.ident()
threads = [threading.Thread(target=note) for _ in range(3)]
for each in threads: each.start()
for each in threads: each.join()
note()
assert all(key == value for key, value in idents.items()), idents
assert threading.get_ident() in idents
capriccio_patch.unpatch_all()
assert waiting_calls.ident() == threading.get_ident()
"""
    )


@pytest.mark.parametrize(
    ("name", "way", "result"), [("once", "lazily", 0), ("guarded", "with C++'s", 1)]
)
def test_what_is_initialised_once_does_not_let_others_run(
    run: Any, name: str, way: str, result: int
) -> None:
    """Another thread in there would wait for ever; this wait is the system's."""
    run(
        f"""
r, w = os.pipe()
ticks = []
thread = threading.Thread(target=lambda: [ticks.append(time.sleep(0.001)) for _ in range(500)])
thread.start()
time.sleep(0.005)
from capriccio_patch.cpython import originals
def write():
    originals.sleep(0.05)
    originals.write(w, b"x")
import _thread
capriccio_patch.original("_thread.start_new_thread")(write, ())
before = len(ticks)
assert call({name!r}, r, 0) == {result}
assert len(ticks) == before, (before, len(ticks))
thread.join()
assert call({name!r}, r, 0) == 0
""",
        way,
    )


def test_an_exception_that_is_set_stays(run: Any) -> None:
    run(
        """
a, b = socket.socketpair()
threading.Thread(target=lambda: (time.sleep(0.005), b.send(b"x"))).start()
assert waiting_calls.call_failed("poll", a.fileno(), -1) == 1
"""
    )


def test_a_library_that_keeps_the_global_lock_lets_no_other_run(run: Any) -> None:
    """As under stock: it may rely on it, as what forks does."""
    run(
        """
a, b = socket.socketpair()
ran = []
thread = threading.Thread(target=lambda: [ran.append(time.sleep(0.001)) for _ in range(50)])
thread.start()
before = len(ran)
assert waiting_calls.call_keeping("poll", a.fileno(), 20) == 0
assert len(ran) == before
thread.join()
"""
    )


def test_an_interrupt_ends_the_wait_of_a_library_that_asks(run: Any) -> None:
    run(
        """
import signal
a, b = socket.socketpair()
for _ in range(3):
    threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        waiting_calls.poll_asking(a.fileno())
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError
handled = []
signal.signal(signal.SIGUSR1, lambda *_: handled.append(1))
threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGUSR1)).start()
threading.Timer(0.05, b.send, (b"x",)).start()
assert waiting_calls.poll_asking(a.fileno()) == 1
assert handled
"""
    )


def test_an_interrupt_is_raised_behind_a_library_that_does_not_ask(run: Any) -> None:
    run(
        """
import signal
a, b = socket.socketpair()
threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    try:
        call("recv", a.fileno(), 1)
    except InterruptedError:
        raise AssertionError("the interrupt comes later than it might")
except KeyboardInterrupt:
    pass
else:
    raise AssertionError
threading.Timer(0.005, b.send, (b"x",)).start()
assert call("recv", a.fileno(), 1) == 1
"""
    )


def test_a_forked_child_and_its_parent_go_on(run: Any) -> None:
    run(
        """
a, b = socket.socketpair()
parked = threading.Thread(target=call, args=("recv", a.fileno(), 1))
parked.start()
time.sleep(0.005)
pid = os.fork()
if not pid:
    c, d = socket.socketpair()
    assert waits("recv", c.fileno(), 1, lambda: d.send(b"x")) == 1
    os._exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
b.send(b"x")
parked.join()
""",
        options=("-W", "ignore::DeprecationWarning"),
    )


def test_an_exit_with_threads_parked_in_c(run: Any) -> None:
    done = run(
        """
a, b = socket.socketpair()
for _ in range(20):
    threading.Thread(target=call, args=("recv", a.fileno(), 1), daemon=True).start()
time.sleep(0.005)
print("ends")
sys.exit(5)
""",
        status=5,
    )
    assert done.stdout == "ends\n"
    assert done.stderr == ""


def test_the_undo_puts_every_slot_back(run: Any) -> None:
    run(
        """
from capriccio_patch.core import _core
a, b = socket.socketpair()
waits("recv", a.fileno(), 1, lambda: b.send(b"x"))
parks = _core.libc_parks()
assert parks
capriccio_patch.unpatch_all()
thread = threading.Thread(target=lambda: (time.sleep(0.01), b.send(b"x")))
thread.start()
assert call("recv", a.fileno(), 1) == 1
thread.join()
assert _core.libc_parks() == parks
capriccio_patch.patch_all()
assert waits("recv", a.fileno(), 1, lambda: b.send(b"x")) == 1
assert _core.libc_parks() > parks
"""
    )


def test_a_thread_that_is_alone_makes_the_calls_themselves(run: Any) -> None:
    run(
        """
from capriccio_patch.core import _core
a, b = socket.socketpair()
parks = _core.libc_parks()
assert call("poll", a.fileno(), 10) == 0
assert call("nanosleep", 0, 5) == 0
assert _core.libc_parks() == parks
"""
    )


def test_many_parked_calls(run: Any) -> None:
    run(
        """
a, b = socket.socketpair()
results = []
threads = [
    threading.Thread(target=lambda: results.append(call("recv", a.fileno(), 1))) for _ in range(500)
]
for each in threads: each.start()
time.sleep(0.01)
b.send(b"x" * 500)
for each in threads: each.join()
assert results == [1] * 500
"""
    )


def test_some_objects_are_never_taken_over() -> None:
    assert denied("") is not None
    assert denied("libpq.so.5") is None
    assert denied("libc.so.6") == "it is libc"
    assert all(DENIED.values())
    assert denied("cygrpc.cpython-313-x86_64-linux-gnu.so") == DENIED["cygrpc"]


@pytest.mark.parametrize(
    ("core", "why_not"),
    [
        ("the reason", "no compiled core: the reason"),
        (SimpleNamespace(), "not on this system"),
        (
            SimpleNamespace(libc_begin=None, libc_fits=lambda: False),
            "the mutexes of this system are not known",
        ),
    ],
)
def test_nothing_is_taken_over_where_that_can_not_be_done(core: Any, why_not: str) -> None:
    runtime: Any = SimpleNamespace(
        kernel=None, descriptors=SimpleNamespace(observe=None), workers=None
    )
    hooks = Hooks(runtime, None, core)  # type: ignore[arg-type]
    assert hooks.why_not == why_not
    assert hooks.take("") == {}
