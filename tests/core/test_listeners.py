"""The objects of accepted connections, which C makes and closes as the standard library does.

That they behave as in Python is what `tests/wrappers/sockets` shows, over both forms.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("in_c")


@contextmanager
def accepted(meanwhile: Callable[[], object] = lambda: None) -> Iterator[socket.socket]:
    """A connection, of a listener that has accepted before, as the first is Python's.

    `meanwhile` is called while the thread waits for it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):
            listener.accept()[0].close()
        clients: list[socket.socket] = []

        def connect() -> None:
            meanwhile()
            clients.append(socket.create_connection(address))

        thread = threading.Thread(target=connect)
        thread.start()
        with listener.accept()[0] as connection:
            thread.join()
            yield connection
        clients[0].close()


def test_the_object_is_complete() -> None:
    with accepted() as connection:
        assert type(connection) is socket.socket
        assert (connection.family, connection.type) == (socket.AF_INET, socket.SOCK_STREAM)
        assert connection.proto == 0
        assert connection.gettimeout() is None
        assert connection.getblocking()
        assert not connection._closed  # type: ignore[attr-defined]
        number = connection.fileno()
        assert connection.detach() == number
        socket.close(number)


def test_a_file_of_it_outlives_its_close() -> None:
    with accepted() as connection:
        file = connection.makefile("wb")
        connection.close()
        assert connection._closed  # type: ignore[attr-defined]
        assert connection.fileno() >= 0
        file.close()
        assert connection.fileno() == -1


def test_a_default_timeout_that_is_set_meanwhile() -> None:
    try:
        with accepted(lambda: socket.setdefaulttimeout(7.5)) as connection:
            assert connection.gettimeout() == 7.5
    finally:
        socket.setdefaulttimeout(None)


def test_a_listener_s_timeout_that_is_set_meanwhile_is_not_the_connection_s() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()):
            listener.accept()[0].close()  # the first is Python's

        def connect() -> None:
            listener.settimeout(7.5)
            socket.create_connection(listener.getsockname()).close()

        thread = threading.Thread(target=connect)
        thread.start()
        with listener.accept()[0] as connection:
            assert connection.gettimeout() is None
        thread.join()


@pytest.mark.parametrize("late", [False, True])
def test_a_method_that_a_program_puts_there_is_called(
    monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    made: list[Any] = []
    closed: list[Any] = []
    init, close = socket.socket.__init__, socket.socket._real_close  # type: ignore[attr-defined]

    def noting(self: Any, *args: Any, **named: Any) -> None:
        made.append(self)
        init(self, *args, **named)

    def close_noting(self: Any) -> None:
        closed.append(self)
        close(self)

    def put() -> None:
        monkeypatch.setattr(socket.socket, "__init__", noting)
        monkeypatch.setattr(socket.socket, "_real_close", close_noting)

    if not late:
        put()
    with accepted(put if late else lambda: None) as connection:
        assert connection in made
    assert connection in closed
    monkeypatch.undo()
    made.clear()
    with accepted() as connection:
        assert connection.fileno() >= 0
    assert not made


def test_who_audits_is_told_of_the_object(run_script: Any) -> None:
    run_script(
        """
        import socket, sys
        import capriccio_patch
        capriccio_patch.patch_all()
        seen = []
        listener = socket.create_server(("127.0.0.1", 0))
        for _ in range(2):  # the first is Python's
            with socket.create_connection(listener.getsockname()):
                if not seen:
                    sys.addaudithook(
                        lambda name, args: name == "socket.__new__" and seen.append(args)
                    )
                connection, _ = listener.accept()
                assert seen[-1][0] is connection, seen
                assert seen[-1][1:] == (socket.AF_INET, socket.SOCK_STREAM, 0)
                connection.close()
        """
    )


def test_a_hook_that_refuses_the_object_is_heard(run_script: Any) -> None:
    run_script(
        """
        import socket, sys
        import capriccio_patch
        capriccio_patch.patch_all()
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        listener.accept()[0].close()
        other = socket.create_connection(listener.getsockname())
        def hook(name, args):
            if name == "socket.__new__":
                raise PermissionError(name)
        sys.addaudithook(hook)
        try:
            listener.accept()
        except PermissionError as error:
            assert str(error) == "socket.__new__"
        else:
            raise AssertionError
        """
    )


@pytest.mark.parametrize("name", ["accept", "close"])
def test_too_much_is_refused_in_the_words_of_python(patched: None, name: str) -> None:
    with socket.socket() as listener:
        call = getattr(listener, name)
        with pytest.raises(
            TypeError, match=rf"^socket\.{name}\(\) takes 1 positional argument but 2"
        ):
            call(1)
        with pytest.raises(TypeError, match="takes 1 positional argument but 21 were given"):
            call(*range(20))
        with pytest.raises(TypeError, match="unexpected keyword argument 'odd'"):
            call(odd=1)
