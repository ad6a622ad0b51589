"""What the tests of sockets have in common."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import pytest

import capriccio_patch


@pytest.fixture(params=["epoll", "poll", "select"])
def scheme(request: pytest.FixtureRequest) -> Iterator[str]:
    """The patch in force with each of the I/O schemes that run here."""
    name = request.param
    reason = capriccio_patch.available_backends()[name]
    if reason is not None:
        pytest.skip(reason)
    capriccio_patch.patch_all(sockio=name)
    try:
        yield name
    finally:
        deadline = time.monotonic() + 5
        while capriccio_patch.status()["threads"] > 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        capriccio_patch.unpatch_all()


@pytest.fixture
def endless_slices(scheme: str) -> Iterator[None]:
    """A thread is never made to step aside."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        right, _ = server.accept()
    with left, right:
        yield left, right
