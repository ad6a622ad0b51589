"""pyzmq's sockets park, by hooks or by libzmq's descriptor."""

from __future__ import annotations

from typing import Any

import pytest

from tests.libraries.conftest import needs

pytestmark = [needs("zmq"), pytest.mark.usefixtures("either_way")]

HEAD = """
import sys, threading, time
import capriccio_patch
capriccio_patch.patch_all()
import zmq
context = zmq.Context()
def pair(one, other):
    a, b = context.socket(one), context.socket(other)
    port = a.bind_to_random_port("tcp://127.0.0.1")
    b.connect(f"tcp://127.0.0.1:{port}")
    return a, b
"""


def test_request_and_reply_in_one_program(run_script: Any) -> None:
    run_script(
        HEAD
        + """
a, b = pair(zmq.REP, zmq.REQ)
def serve():
    for _ in range(100):
        a.send_multipart([b"reply", *a.recv_multipart()])
thread = threading.Thread(target=serve)
thread.start()
for n in range(100):
    b.send(b"%d" % n, copy=n % 2)
    assert b.recv_multipart() == [b"reply", b"%d" % n]
thread.join()
context.destroy(0)
"""
    )


def test_a_send_waits_for_the_receiver(run_script: Any) -> None:
    run_script(
        HEAD
        + """
context.setsockopt(zmq.SNDHWM, 2)
context.setsockopt(zmq.RCVHWM, 2)
a, b = context.socket(zmq.PUSH), context.socket(zmq.PULL)
a.bind("inproc://x")
b.connect("inproc://x")
thread = threading.Thread(target=lambda: [a.send(b"%d" % n) for n in range(500)])
thread.start()
assert [int(b.recv()) for _ in range(500)] == [*range(500)]
thread.join()
buffer = bytearray(10)
if hasattr(b, "recv_into"):
    thread = threading.Thread(target=lambda: (time.sleep(0.01), a.send(b"abc")))
    thread.start()
    assert b.recv_into(buffer) == 3
    thread.join()
context.destroy(0)
"""
    )


def test_timeouts_and_errors_are_stocks(run_script: Any) -> None:
    run_script(
        HEAD
        + """
a, b = pair(zmq.PUSH, zmq.PULL)
b.setsockopt(zmq.RCVTIMEO, 50)
start = time.monotonic()
try:
    b.recv()
except zmq.Again as error:
    assert error.errno == zmq.EAGAIN
else:
    raise AssertionError
assert time.monotonic() - start >= 0.05
try:
    b.recv(zmq.NOBLOCK)
except zmq.Again:
    pass
else:
    raise AssertionError
assert b.poll(10) == 0
assert zmq.select([b], [a], [], 0.01)[:2] == ([], [a])
try:
    b.send(b"x")
except zmq.ZMQError as error:
    assert error.errno == zmq.ENOTSUP
b.close()
try:
    b.recv()
except zmq.ZMQError as error:
    assert error.errno == zmq.ENOTSOCK
context.destroy(0)
"""
    )


def test_a_poller_of_sockets_and_descriptors(run_script: Any) -> None:
    run_script(
        HEAD
        + """
import os
a, b = pair(zmq.PUSH, zmq.PULL)
r, w = os.pipe()
poller = zmq.Poller()
poller.register(b, zmq.POLLIN)
poller.register(r, zmq.POLLIN)
threading.Thread(target=lambda: (time.sleep(0.01), os.write(w, b"x"))).start()
assert dict(poller.poll()) == {r: zmq.POLLIN}
os.read(r, 1)
threading.Thread(target=lambda: (time.sleep(0.01), a.send(b"y"))).start()
assert dict(poller.poll(10000)) == {b: zmq.POLLIN}
assert b.recv() == b"y"
assert poller.poll(10) == []
context.destroy(0)
"""
    )


@pytest.mark.parametrize("call", ["proxy, args=(front, back)", "device, args=(3, front, back)"])
@pytest.mark.filterwarnings("ignore:zmq.device:DeprecationWarning")
def test_a_proxy_runs_beside_its_clients(run_script: Any, call: str) -> None:
    run_script(
        HEAD
        + """
front, client = pair(zmq.ROUTER, zmq.REQ)
back, worker = pair(zmq.DEALER, zmq.REP)
threading.Thread(target=zmq.CALL, daemon=True).start()
threading.Thread(target=lambda: worker.send(worker.recv() + b"!"), daemon=True).start()
client.send(b"hello")
assert client.recv() == b"hello!"
assert "pyzmq" in capriccio_patch.status()["libraries"]
import os
os._exit(0)
""".replace("CALL", call)
    )


def test_an_interrupt_takes_a_receiver_away(run_script: Any) -> None:
    run_script(
        HEAD
        + """
import os, signal
a, b = pair(zmq.PUSH, zmq.PULL)
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    b.recv()
except KeyboardInterrupt:
    pass
a.send(b"later")
assert b.recv() == b"later"
context.destroy(0)
"""
    )


def test_the_undo_puts_all_back(run_script: Any) -> None:
    run_script(
        """
        import capriccio_patch
        import zmq, zmq.devices
        from zmq.backend.cython import _zmq
        def state():
            found = [dict(vars(_zmq.Socket)), zmq.zmq_poll, _zmq.zmq_poll]
            return [*found, zmq.proxy, zmq.devices.proxy]
        before = state()
        capriccio_patch.patch_all()
        is_hooked = capriccio_patch.status()["core"] == "compiled"
        assert (state() == before) is is_hooked
        capriccio_patch.unpatch_all()
        assert state() == before
        """
    )
