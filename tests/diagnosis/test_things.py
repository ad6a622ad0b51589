"""What threads wait for, in words."""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.contracts.descriptor import Descriptor
from capriccio_patch.diagnosis.things import described, peer_of


class Unkind(threading.Thread):
    def __repr__(self) -> str:
        raise AssertionError("nothing of the program is called")


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (None, ""),
        (threading.Lock(), "Lock at 0x"),
        (threading.RLock(), "RLock at 0x"),
        (threading.Semaphore(3), "threading.Semaphore at 0x"),
        (threading.Semaphore(3), " (value 3)"),
        (queue.Queue(7), " (0 items of 7)"),
        (threading.Barrier(2), " (0 of 2 have come)"),
        (Unkind(), "test_things.Unkind at 0x"),
        ({5: 1, 6: 1}, "descriptors 5, 6"),
        (dict.fromkeys(range(9), 1), "and 5 more"),
        ("a.txt", "'a.txt'"),
        (time.sleep, "sleep"),
    ],
)
def test_words(thing: Any, text: str) -> None:
    assert text in described(thing)


def test_descriptors_have_their_peer_or_path(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert peer_of(server.fileno()) == f"at 127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port)) as client:
            number = client.fileno()
            assert described(Descriptor(number)) == f"descriptor {number} (from 127.0.0.1:{port})"
    left, right = socket.socketpair()
    with left, right:
        assert peer_of(left.fileno()) == ""
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "s"))
        assert peer_of(unix.fileno()) == f"at {tmp_path}/s"
    if os.path.exists("/proc/self/fd"):
        with open(tmp_path / "file", "w") as file:
            assert f"({tmp_path}/file)" in described(Descriptor(file.fileno()))


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_ipv6() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert peer_of(server.fileno()) == f"at [::1]:{server.getsockname()[1]}"
