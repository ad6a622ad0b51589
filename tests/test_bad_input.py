"""What the system refuses or interrupts: stock's answer, and the runtime goes on.

Each scenario is a program that is right under plain Python too.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from capriccio_patch.backends.disk import available_disk_backends
from tests.conftest import SCHEMES, with_scheme

DISKIO = [name for name, reason in available_disk_backends().items() if reason is None]

_START = """
import errno, fcntl, os, queue, resource, select, signal, socket, subprocess, sys, threading, time
import capriccio_patch
capriccio_patch.patch_all()
"""

_STORM = (
    _START
    + """
BIG = os.urandom(1 << 20)
handled = 0
def handler(*_):
    global handled
    handled += 1
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)

def in_thread(function, *args):
    thread = threading.Thread(target=function, args=args)
    thread.start()
    return thread

def write_all(fd):
    left = memoryview(BIG)
    while left:
        left = left[os.write(fd, left):]
    os.close(fd)

def read_all(fd):
    data = b"".join(iter(lambda: os.read(fd, 65536), b""))
    os.close(fd)
    return data

reader, writer = os.pipe()
thread = in_thread(write_all, writer)
assert read_all(reader) == BIG
thread.join()
got = []
reader, writer = os.pipe()
thread = in_thread(lambda: got.append(read_all(reader)))
write_all(writer)
thread.join()
assert got == [BIG]

here, there = socket.socketpair()
thread = in_thread(there.sendall, BIG)
data = bytearray()
while len(data) < len(BIG):
    data += here.recv(1 << 16)
assert data == BIG
thread.join()

begun = time.monotonic()
time.sleep(0.05)
assert time.monotonic() - begun >= 0.05
assert not threading.Event().wait(0.02)
assert select.select([here], [], [], 0.02) == ([], [], [])
lock = threading.Lock()
with lock:
    assert not lock.acquire(timeout=0.02)
here.settimeout(0.02)
try:
    here.recv(1)
    raise SystemExit("no timeout")
except TimeoutError:
    pass
here.settimeout(None)

numbers = queue.Queue(1)
thread = in_thread(lambda: [numbers.put(n) for n in range(500)])
assert [numbers.get() for _ in range(500)] == [*range(500)]
thread.join()

with open("file", "w+b") as file:
    file.write(BIG)
    file.flush()
    os.fsync(file.fileno())
    file.seek(0)
    assert file.read() == BIG

assert subprocess.run(["sleep", "0.03"]).returncode == 0
assert subprocess.run(["cat"], input=BIG, stdout=subprocess.PIPE).stdout == BIG
assert os.system("exit 3") >> 8 == 3
signal.setitimer(signal.ITIMER_REAL, 0)
assert handled >= 50, handled
print("done")
"""
)


@pytest.mark.parametrize("sockio", SCHEMES)
def test_a_signal_each_millisecond_loses_nothing(
    run_script: Any, tmp_path: Any, sockio: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_script(_STORM, env=with_scheme(sockio)).stdout == "done\n"


_FULL = (
    _START
    + """
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()

def fails(number, call, *args):
    try:
        call(*args)
    except OSError as error:
        assert error.errno == number, error
    else:
        raise AssertionError(f"no {errno.errorcode[number]}")

if os.path.exists("/dev/full"):
    full = os.open("/dev/full", os.O_WRONLY)
    fails(errno.ENOSPC, os.write, full, b"x")
    fails(errno.ENOSPC, os.writev, full, [b"x", b"y"])
    file = open("/dev/full", "w")
    file.write("abc")
    fails(errno.ENOSPC, file.flush)
    fails(errno.ENOSPC, file.close)
    fails(errno.ENOSPC, lambda: print("abc", file=open("/dev/full", "w"), flush=True))

LIMIT = 10_000
resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
fd = os.open("small", os.O_RDWR | os.O_CREAT)
assert os.write(fd, b"a" * 8000) == 8000
assert os.write(fd, b"b" * 8000) == 2000
fails(errno.EFBIG, os.write, fd, b"c")
fails(errno.EFBIG, os.pwrite, fd, b"c", LIMIT)
assert os.pread(fd, 20_000, 0) == b"a" * 8000 + b"b" * 2000
fails(errno.EFBIG, os.ftruncate, fd, LIMIT + 1)
file = open("buffered", "wb", buffering=4096)
fails(errno.EFBIG, lambda: [file.write(b"d" * 1000) for _ in range(30)])
assert os.stat("buffered").st_size == LIMIT
fails(errno.EFBIG, file.close)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
assert os.write(fd, b"c") == 1
with open("buffered", "wb") as file:
    file.write(b"e" * 20_000)
assert os.stat("buffered").st_size == 20_000
stop.set()
thread.join()
print("done")
"""
)


@pytest.mark.parametrize("diskio", DISKIO)
def test_no_room_for_a_file(
    run_script: Any, tmp_path: Any, diskio: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_script(_FULL, env={"CAPRICCIO_DISKIO": diskio}).stdout == "done\n"


_NO_DESCRIPTOR = (
    _START
    + """
listener = socket.create_server(("127.0.0.1", 0))
here, there = socket.socketpair()
def echo():
    while data := there.recv(10):
        there.sendall(data)
echoing = threading.Thread(target=echo)
echoing.start()
clients = [socket.create_connection(listener.getsockname())]
spare = os.dup(0)
os.close(spare)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)

def fails(call, *args):
    try:
        call(*args)
    except OSError as error:
        assert error.errno == errno.EMFILE, error
    else:
        raise AssertionError("no EMFILE")
    here.sendall(b"abc")
    assert here.recv(10) == b"abc"

taken = []
resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 8, limits[1]))  # the watchdog may have one
while True:
    try:
        taken.append(os.dup(0))
    except OSError as error:
        assert error.errno == errno.EMFILE
        break
assert taken
fails(listener.accept)
fails(socket.socketpair)
fails(socket.socket)
fails(os.pipe)
fails(open, sys.argv[0])
fails(os.open, sys.argv[0], os.O_RDONLY)
fails(os.listdir)
fails(getattr(select, "epoll", os.pipe))
fails(subprocess.run, ["true"])
fails(subprocess.run, ["true"], -1, None, subprocess.PIPE)
time.sleep(0.001)
got = []
thread = threading.Thread(target=lambda: got.append(listener.accept()))
if hasattr(select, "epoll"):  # a stand-in for a kqueue is not gone in the child at once
    child = os.fork()
    if not child:
        os._exit(3)
    assert os.waitpid(child, 0)[1] >> 8 == 3
for fd in taken:
    os.close(fd)
thread.start()
thread.join()
assert got
assert subprocess.run(["echo", "x"], stdout=subprocess.PIPE).stdout == b"x\\n"
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
here.close()
echoing.join()
print("done")
"""
)


@pytest.mark.parametrize("sockio", SCHEMES)
def test_no_descriptor_left(run_script: Any, sockio: str) -> None:
    options = ("-W", "ignore")  # of the fork
    assert run_script(_NO_DESCRIPTOR, env=with_scheme(sockio), options=options).stdout == "done\n"


_ALL_STUCK = (
    _START
    + """
from tests.inside import applied
applied().runtime.workers._limit = 1
held = open("locked", "w")
child = subprocess.Popen(
    [sys.executable, "-c", "import fcntl; f = open('locked'); fcntl.flock(f, 2); "
     "print(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
done = queue.SimpleQueue()
def stuck(call):
    def run():
        call()
        done.put(call)
    threads.append(threading.Thread(target=run))
    threads[-1].start()
threads = []
for number in range(6):
    os.mkfifo(f"fifo{number}")
    stuck(lambda number=number: os.close(os.open(f"fifo{number}", os.O_RDONLY)))
    stuck(lambda: fcntl.flock(open("locked"), fcntl.LOCK_SH))
    stuck(lambda: child.wait())
for number in range(50):
    with open(f"file{number % 3}", "w+") as file:
        file.write("x" * number)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        assert file.read() == "x" * number
    assert socket.getaddrinfo("127.0.0.1", 80)
    assert "locked" in os.listdir()
assert done.empty()
for number in range(6):
    os.close(os.open(f"fifo{number}", os.O_WRONLY))
child.communicate(b"\\n")
for thread in threads:
    thread.join()
print("done")
"""
)


@pytest.mark.skipif(sys.platform != "linux", reason="flock waits by itself on Linux")
@pytest.mark.parametrize("diskio", DISKIO)
def test_one_worker_and_many_calls_that_do_not_end(
    run_script: Any, tmp_path: Any, diskio: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_script(_ALL_STUCK, env={"CAPRICCIO_DISKIO": diskio}).stdout == "done\n"
