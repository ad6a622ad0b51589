"""Which calls of libraries may wait."""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from capriccio_patch.libraries import conditions


def test_a_timeout_of_zero_does_not_wait() -> None:
    waits = conditions.timeout_not_zero
    assert not waits(object(), 0)
    assert not waits(object(), 0.0)
    assert not waits(object(), timeout=0)
    assert waits(object(), 1.0)
    assert waits(object())
    assert conditions.always(1, two=2)


@pytest.fixture
def psycopg2(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A module of which only the wait callback is asked for."""
    found = SimpleNamespace(callback=None)
    found.get_wait_callback = lambda: found.callback
    monkeypatch.setitem(sys.modules, "psycopg2._psycopg", found)  # type: ignore[misc]
    return found


def test_psycopg2(psycopg2: SimpleNamespace) -> None:
    connection = SimpleNamespace(async_=0)
    plain = SimpleNamespace(connection=connection, name=None)
    named = SimpleNamespace(connection=connection, name="cursor")
    waits = conditions.psycopg2_connection
    assert waits(connection)
    assert waits(plain)
    assert waits("dbname=x")
    assert waits("dbname=x", connection_factory=object, **{"async": 0})
    assert not waits("dbname=x", **{"async": 1})
    assert not waits("dbname=x", async_=1)
    assert conditions.psycopg2_named(named)
    assert not conditions.psycopg2_named(plain)
    connection.async_ = 1
    assert not waits(connection)
    assert not waits(plain)
    assert not conditions.psycopg2_named(named)
    connection.async_ = 0
    psycopg2.callback = print
    assert not waits(connection)
    assert not waits("dbname=x")


def test_pyopenssl() -> None:
    class Connection:
        def __init__(self, sock: Any) -> None:
            self.fileno = sock.fileno
            self.left = 0

        def pending(self) -> int:
            return self.left

    a, b = socket.socketpair()
    with a, b:
        connection = Connection(a)
        assert conditions.pyopenssl_blocking(connection)
        assert conditions.pyopenssl_reading(connection)
        connection.left = 1
        assert not conditions.pyopenssl_reading(connection)
        a.setblocking(False)
        assert not conditions.pyopenssl_blocking(connection)
    assert not conditions.pyopenssl_blocking(connection)  # closed
    assert not conditions.pyopenssl_blocking(object())


def test_oracledb(monkeypatch: pytest.MonkeyPatch) -> None:
    found: Any = SimpleNamespace(is_thin_mode=lambda: True)
    monkeypatch.setitem(sys.modules, "oracledb", found)
    assert not conditions.oracledb_thick()
    found.is_thin_mode = lambda: False
    assert conditions.oracledb_thick()
