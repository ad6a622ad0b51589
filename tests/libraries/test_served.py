"""Libraries as programs use them, by hooks and without: gRPC, pyOpenSSL, curses, Tcl, uvloop."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.libraries.conftest import needs

pytestmark = pytest.mark.usefixtures("either_way")


@needs("grpc")
def test_a_grpc_server_and_its_clients_in_one_program(run_script: Any) -> None:
    run_script(
        """
        import threading
        from concurrent.futures import ThreadPoolExecutor
        import capriccio_patch
        capriccio_patch.patch_all()
        import grpc
        together = threading.Barrier(8)
        def handle(request, context):
            together.wait()
            return request + b"!"
        def stream(requests, context):
            for each in requests:
                yield each * 2
        handlers = {
            "U": grpc.unary_unary_rpc_method_handler(handle),
            "B": grpc.stream_stream_rpc_method_handler(stream),
        }
        server = grpc.server(ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("S", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/S/U")
            answers = []
            threads = [
                threading.Thread(target=lambda n=n: answers.append(call(b"%d" % n, timeout=50)))
                for n in range(8)
            ]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            assert sorted(answers) == [b"%d!" % n for n in range(8)]
            both = channel.stream_stream("/S/B")
            assert list(both(iter([b"a", b"b"]), timeout=50)) == [b"aa", b"bb"]
        server.stop(0).wait()
        """
    )


@needs("OpenSSL", "cryptography")
def test_pyopenssl_on_both_ends(run_script: Any) -> None:
    run_script(
        """
        import datetime, socket, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
        from OpenSSL import SSL, crypto
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(1)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1)
        builder = builder.public_key(key.public_key())
        builder = builder.not_valid_before(now - day).not_valid_after(now + day)
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_privatekey(crypto.PKey.from_cryptography_key(key))
        context.use_certificate(crypto.X509.from_cryptography(builder.sign(key, hashes.SHA256())))
        def server(sock):
            tls = SSL.Connection(context, sock)
            tls.set_accept_state()
            tls.do_handshake()
            tls.sendall(tls.recv(100) + b"!")
        def client(sock, n):
            tls = SSL.Connection(SSL.Context(SSL.TLS_METHOD), sock)
            tls.set_connect_state()
            tls.do_handshake()
            tls.sendall(b"%d" % n)
            answers.append(tls.recv(100))
        answers, threads = [], []
        for n in range(10):
            a, b = socket.socketpair()
            threads.append(threading.Thread(target=server, args=(a,)))
            threads.append(threading.Thread(target=client, args=(b, n)))
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert sorted(answers) == [b"%d!" % n for n in range(10)]
        """
    )


HOOKED = {
    "uvloop": """
import asyncio, threading
import uvloop
async def main():
    together = threading.Barrier(5)
    return await asyncio.gather(*[asyncio.to_thread(together.wait, 50) for _ in range(5)])
assert sorted(uvloop.run(main())) == [0, 1, 2, 3, 4]
loops = [threading.Thread(target=uvloop.run, args=(asyncio.sleep(0.01),)) for _ in range(5)]
for each in loops: each.start()
for each in loops: each.join()
""",
    "fastrlock": """
import threading, time
from fastrlock.rlock import FastRLock
lock, inside = FastRLock(), []
def work():
    for _ in range(5):
        with lock, lock:
            inside.append(1)
            assert len(inside) == 1
            time.sleep(0.001)
            inside.pop()
threads = [threading.Thread(target=work) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
""",
    "tkinter": """
import threading, time, tkinter
app = tkinter.Tcl()
stop = threading.Event()
def work():
    for _ in range(10):
        time.sleep(0.001)
    stop.set()
def look():
    if stop.is_set():
        app.tk.quit()
    else:
        app.tk.call("after", 5, "look")
app.createcommand("look", look)
app.tk.call("after", 5, "look")
app.createcommand("late", lambda: None)
app.tk.call("after", 60000, "late")
threading.Thread(target=work).start()
app.tk.mainloop(-1)
assert stop.is_set()
""",
    "gi": """
import threading, time
from gi.repository import GLib
seen = []
def work(number):
    for _ in range(5):
        time.sleep(0.001)
        GLib.idle_add(seen.append, number)
def look():
    if len(seen) < 20:
        return True
    loop.quit()
loop = GLib.MainLoop()
GLib.timeout_add(5, look)
GLib.timeout_add(60000, print)
threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for each in threads: each.start()
loop.run()
for each in threads: each.join()
def wait():
    context = GLib.MainContext.new()
    loop = GLib.MainLoop.new(context, False)
    source = GLib.timeout_source_new(10)
    source.set_callback(lambda *_: loop.quit())
    source.attach(context)
    loop.run()
    seen.append("over")
threads = [threading.Thread(target=wait) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
assert seen.count("over") == 4
""",
    "pygame": """
import os, threading, time
os.environ["PYGAME_HIDE_SUPPORT_PROMPT"] = "1"
os.environ["SDL_VIDEODRIVER"] = os.environ["SDL_AUDIODRIVER"] = "dummy"
import pygame
pygame.init()
pygame.display.set_mode((10, 10))
clock = pygame.time.Clock()
ticks, stop = [], []
def work():
    while not stop:
        time.sleep(0.001)
        ticks.append(1)
    pygame.event.post(pygame.event.Event(pygame.USEREVENT))
thread = threading.Thread(target=work)
thread.start()
clock.tick(10)
for wait in (lambda: clock.tick(10), lambda: pygame.time.wait(100)):
    before = len(ticks)
    wait()
    assert len(ticks) > before + 5, (before, ticks)
threading.Timer(0.01, stop.append, (1,)).start()
while pygame.event.wait(30000).type != pygame.USEREVENT:
    pass
thread.join()
""",
}
_BY_MODULE = {"gi": "pygobject"}
"""What the table calls a library that is not called as its module."""
_NEEDED = {"tkinter": "_tkinter"}
"""The modules in C without which others are of no use."""


def skip_without_hooks(form: str) -> None:
    if form == "python" or find_spec("capriccio_patch.core._core") is None:
        pytest.skip("no compiled core")


@pytest.mark.parametrize(
    "module", [pytest.param(each, marks=needs(_NEEDED.get(each, each))) for each in HOOKED]
)
def test_libraries_that_hooks_alone_serve(run_script: Any, either_way: str, module: str) -> None:
    skip_without_hooks(either_way)
    done = run_script(
        "import capriccio_patch\ncapriccio_patch.patch_all()\n"
        + HOOKED[module]
        + f"told = capriccio_patch.status()['libraries'][{_BY_MODULE.get(module, module)!r}]\n"
        + "assert ' park in ' in told, told\n"
    )
    assert "kept all other threads" not in done.stderr


TOGETHER = {
    "posix_ipc": """
import posix_ipc
semaphore = posix_ipc.Semaphore(None, posix_ipc.O_CREX, initial_value=0)
semaphore.unlink()
queue = posix_ipc.MessageQueue(None, posix_ipc.O_CREX, max_messages=5)
queue.unlink()
assert together(lambda n: semaphore.acquire(20), lambda n: semaphore.release()) == [None] * 8
assert together(lambda n: queue.receive()[0], lambda n: queue.send(b"x")) == [b"x"] * 8
try:
    semaphore.acquire(0)
except posix_ipc.BusyError:
    pass
else:
    raise AssertionError
""",
    "sysv_ipc": """
import sysv_ipc
semaphore = sysv_ipc.Semaphore(None, sysv_ipc.IPC_CREX, initial_value=0)
queue = sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX)
try:
    assert together(lambda n: semaphore.acquire(), lambda n: semaphore.release()) == [None] * 8
    assert together(lambda n: queue.receive()[0], lambda n: queue.send(b"x")) == [b"x"] * 8
finally:
    semaphore.remove()
    queue.remove()
""",
    "faster_fifo": """
from faster_fifo import Queue
queue = Queue(1_000_000)
assert together(lambda n: queue.get(timeout=20), lambda n: queue.put("x")) == ["x"] * 8
""",
    "apsw": """
import apsw, os, tempfile
path = os.path.join(tempfile.mkdtemp(), "data")
def connect():
    connection = apsw.Connection(path)
    connection.set_busy_timeout(20_000)
    return connection
first = connect()
first.execute("create table numbers (number)")
first.execute("begin immediate")
def insert(n):
    connection = connect()
    connection.execute("begin immediate")
    connection.execute("insert into numbers values (?)", (n,))
    time.sleep(0.001)
    connection.execute("commit")
    return n
def commit(n):
    if n == 0:
        first.execute("commit")
assert sorted(together(insert, commit)) == list(range(8))
assert first.execute("select count(*) from numbers").fetchall() == [(8,)]
""",
}
"""Programs whose threads wait in a library for each other, by module of the library."""


@pytest.mark.parametrize("module", [pytest.param(each, marks=needs(each)) for each in TOGETHER])
def test_threads_that_wait_there_for_each_other(run_script: Any, module: str) -> None:
    done = run_script(
        """
import threading, time
import capriccio_patch
capriccio_patch.patch_all()
def together(wait, wake):
    # What eight threads get that wait, and that eight times `wake` lets go on.
    found = []
    get = lambda n: found.append(wait(n))
    threads = [threading.Thread(target=get, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    assert found == []
    for n in range(8):
        wake(n)
    for thread in threads:
        thread.join()
    return found
"""
        + TOGETHER[module]
    )
    assert "kept all other threads" not in done.stderr


def _has_extension_of_lmdb() -> bool:
    """Not every wheel has it: what a Python without it gets is compiled at the import."""
    found = find_spec("lmdb")
    places = found and found.submodule_search_locations
    return any(path for place in places or () for path in Path(place).glob("cpython*.so"))


@pytest.mark.skipif(not _has_extension_of_lmdb(), reason="not installed: lmdb.cpython")
def test_lmdb_writes_one_after_the_other(run_script: Any, either_way: str) -> None:
    skip_without_hooks(either_way)
    run_script(
        """
import tempfile, threading, time
import capriccio_patch
capriccio_patch.patch_all()
import lmdb
environment = lmdb.open(tempfile.mkdtemp(), map_size=1 << 24)
inside, most = [], []
def write(n):
    for turn in range(5):
        with environment.begin(write=True) as transaction:
            inside.append(n)
            most.append(len(inside))
            count = int(transaction.get(b"count", b"0"))
            time.sleep(0.001)
            transaction.put(b"count", b"%d" % (count + 1))
            inside.remove(n)
threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with environment.begin() as transaction:
    assert transaction.get(b"count") == b"40"
assert set(most) == {1}
"""
    )


CURSES = """
import curses, os, sys, threading, time
import capriccio_patch
capriccio_patch.patch_all()
def main(screen):
    seen = threading.Event()
    def tick():
        for _ in range(20):
            time.sleep(0.005)
        seen.set()
        print("ticked", flush=True)
    threading.Thread(target=tick).start()
    key = getattr(screen, sys.argv[1])()
    assert seen.is_set()
    return key
print("key", repr(curses.wrapper(main)), flush=True)
"""


@needs("_curses")
@pytest.mark.parametrize("how", ["getch", "getkey", "get_wch", "getstr"])
def test_curses_waits_for_a_key(tmp_path: Path, environ: dict[str, str], how: str) -> None:
    """The key comes when a thread that runs meanwhile has said so."""
    script = tmp_path / "script.py"
    script.write_text(CURSES)
    terminal, its = os.openpty()
    child = subprocess.Popen(
        [sys.executable, script, how],
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        env=environ | {"TERM": "xterm", "CAPRICCIO_CORE": os.environ["CAPRICCIO_CORE"]},
    )
    os.close(its)
    seen = b""
    sent = False
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        seen += data
        if b"ticked" in seen and not sent:
            sent = True
            os.write(terminal, b"q\n")
    os.close(terminal)
    assert child.wait() == 0, seen
    assert b"key" in seen


DBUS = """
import os, threading
import capriccio_patch
capriccio_patch.patch_all()
import dbus, dbus.bus, dbus.service
from dbus.mainloop.glib import DBusGMainLoop, threads_init
from gi.repository import GLib
address = os.environ["DBUS_SESSION_BUS_ADDRESS"]
DBusGMainLoop(set_as_default=True)
threads_init()
class Service(dbus.service.Object):
    @dbus.service.method("test.Service", in_signature="i", out_signature="i")
    def next(self, number):
        return number + 1
bus = dbus.bus.BusConnection(address)
name = dbus.service.BusName("test.Service", bus)
service = Service(bus, "/service")
answers = []
def ask():
    proxy = dbus.bus.BusConnection(address).get_object("test.Service", "/service")
    answers.extend(proxy.next(number, dbus_interface="test.Service") for number in range(5))
threads = [threading.Thread(target=ask) for _ in range(4)]
def stop():
    for each in threads: each.start()
    for each in threads: each.join()
    loop.quit()
loop = GLib.MainLoop()
threading.Thread(target=stop).start()
loop.run()
assert sorted(answers) == [number for number in range(1, 6) for _ in threads], answers
"""


@needs("dbus", "gi")
def test_a_service_on_d_bus_and_its_clients(
    tmp_path: Path, environ: dict[str, str], either_way: str
) -> None:
    skip_without_hooks(either_way)
    if shutil.which("dbus-run-session") is None:
        pytest.skip("D-Bus is not installed")
    script = tmp_path / "script.py"
    script.write_text(DBUS)
    command = ["dbus-run-session", "--", sys.executable, script]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@needs("systemd")
def test_systemds_journal_waits(run_script: Any, tmp_path: Path) -> None:
    run_script(
        f"""
        import threading, time
        import capriccio_patch
        capriccio_patch.patch_all()
        from systemd import journal
        reader = journal.Reader(path={str(tmp_path)!r})
        ticks, stop = [], []
        def tick():
            while not stop:
                time.sleep(0.005)
                ticks.append(1)
        thread = threading.Thread(target=tick)
        thread.start()
        reader.wait(0.05)
        before = len(ticks)
        reader.wait(0.2)
        assert len(ticks) > before + 5, (before, ticks)
        stop.append(1)
        thread.join()
        """
    )


@needs("cv2")
def test_opencv_waits_for_the_next_frame(run_script: Any) -> None:
    """Of a stream over HTTP, whose server is a thread of the same program."""
    run_script(
        """
        import socket, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        import cv2, numpy
        frame = cv2.imencode(".jpg", numpy.zeros((32, 32, 3), numpy.uint8))[1].tobytes()
        frame = b"--b\\r\\nContent-Type: image/jpeg\\r\\n\\r\\n" + frame + b"\\r\\n"
        listener = socket.create_server(("127.0.0.1", 0))
        def serve():
            connection, _ = listener.accept()
            connection.recv(9999)
            kind = b"multipart/x-mixed-replace; boundary=b"
            connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Type: " + kind + b"\\r\\n\\r\\n")
            for _ in range(10):
                connection.sendall(frame)
            connection.close()
        threading.Thread(target=serve).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/video.mjpg"
        video = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        frames = 0
        while video.read()[0]:
            frames += 1
        assert frames > 5, frames
        """
    )
