"""``socket.socket.accept``: what it returns is stock's, and no enumeration is asked for it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import capriccio_patch
from tests.conftest import SEVERAL, RunScript

STOCK = socket.socket.accept


@pytest.fixture(params=["compiled", "python"], autouse=True)
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "compiled":
        pytest.importorskip("capriccio_patch.core._core")
        if SEVERAL:
            pytest.skip("is about one kernel")
    monkeypatch.setenv("CAPRICCIO_CORE", request.param)
    capriccio_patch.patch_all()
    assert socket.socket.accept is not STOCK
    yield
    capriccio_patch.unpatch_all()
    assert socket.socket.accept is STOCK


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def accept(listener: socket.socket) -> tuple[socket.socket, Any, Any]:
    """What is accepted, and the client's address."""
    with socket.create_connection(listener.getsockname()[:2]) as client:
        connection, address = listener.accept()
        connection.close()
        return connection, address, client.getsockname()


class Refusal:
    """An attribute that nobody is to ask for."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        raise AssertionError


def test_the_listener_is_not_asked_for_members_of_enumerations(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        for name in ("family", "type"):
            patched.setattr(socket.socket, name, Refusal())
        connection, address, client = accept(listener)
    assert type(connection) is socket.socket
    assert address == client
    assert connection.family is socket.AF_INET
    assert connection.type is socket.SOCK_STREAM


def test_a_class_of_the_programs_own_is_asked(listener: socket.socket) -> None:
    asked = []

    class Mine(socket.socket):
        @property
        def proto(self) -> int:
            asked.append(self.fileno())
            return super().proto

    mine = Mine(fileno=listener.detach())
    with mine:
        connection, _, _ = accept(mine)
        assert asked == [mine.fileno()]
    assert type(connection) is socket.socket


def test_another_class_in_its_place_makes_the_connection(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mine(socket.socket):
        pass

    with socket.create_connection(listener.getsockname()):
        monkeypatch.setattr(socket, "socket", Mine)
        connection, _ = listener.accept()
        connection.close()
    assert type(connection) is Mine


@pytest.mark.parametrize("limit", [None, 5.0])
@pytest.mark.parametrize("default", [None, 7.0])
def test_the_connection_has_the_default_timeout(
    listener: socket.socket, limit: float | None, default: float | None
) -> None:
    listener.settimeout(limit)
    with socket.create_connection(listener.getsockname()):
        socket.setdefaulttimeout(default)
        try:
            connection, _ = listener.accept()
        finally:
            socket.setdefaulttimeout(None)
    with connection:
        assert connection.gettimeout() == default


def test_nobody_has_come(listener: socket.socket) -> None:
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()
    listener.settimeout(0.01)
    with pytest.raises(TimeoutError, match="timed out"):
        listener.accept()


def test_it_is_closed(listener: socket.socket) -> None:
    listener.close()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        listener.accept()


def test_what_is_no_socket_is_refused() -> None:
    with pytest.raises((TypeError, AttributeError)):
        socket.socket.accept(object())  # type: ignore[arg-type]


def test_the_module_is_imported_after_the_patch(run_script: RunScript) -> None:
    done = run_script(
        """
        import capriccio_patch

        capriccio_patch.patch_all()
        import socket

        assert capriccio_patch.status()["how"]["socket.socket.accept"] == "in place"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with socket.create_connection(listener.getsockname()) as client:
                assert listener.accept()[1] == client.getsockname()
        print("done")
        """
    )
    assert done.stdout == "done\n"
