"""When a call of a C library may wait, where its arguments tell.

A hop to a worker takes 30-60 us.  So a call that is known to be answered from memory is made at
once.  Each function gets the call's arguments, and returns whether to hop; it raises nothing.
"""

from __future__ import annotations

import sys

from ..cpython import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "always",
    "oracledb_thick",
    "psycopg2_connection",
    "psycopg2_named",
    "pyopenssl_blocking",
    "pyopenssl_reading",
    "timeout_not_zero",
]


def always(*_: Any, **__: Any) -> bool:
    """It may wait, whatever it is called with."""
    return True


def timeout_not_zero(_self: Any, timeout: Any = None, *_: Any, **__: Any) -> bool:
    """A call with a timeout as its first argument, or by name, that is not 0."""
    return bool(timeout != 0)


def psycopg2_connection(
    owner: Any, *_: Any, connection_factory: Any = None, **keywords: Any
) -> bool:
    """A method of a connection or of what belongs to one, or a connection that is to be made.

    Asynchronous connections don't wait, and a wait callback of the program's does so itself.
    """
    if sys.modules["psycopg2._psycopg"].get_wait_callback() is not None:
        return False
    if isinstance(owner, str):
        return not (keywords.get("async") or keywords.get("async_"))
    connection = getattr(owner, "connection", owner)
    return not getattr(connection, "async_", 0)


def psycopg2_named(cursor: Any, *_: Any, **__: Any) -> bool:
    """A cursor on the server; any other has its rows in memory."""
    return getattr(cursor, "name", None) is not None and psycopg2_connection(cursor)


def pyopenssl_blocking(connection: Any, *_: Any, **__: Any) -> bool:
    """A TLS connection over a socket whose descriptor blocks."""
    try:
        return bool(originals.get_blocking(connection.fileno()))
    except (AttributeError, OSError, TypeError, ValueError):
        return False  # it has no socket, or that is closed: the call says so


def pyopenssl_reading(connection: Any, *_: Any, **__: Any) -> bool:
    """As `pyopenssl_blocking`, unless what has been received is not read yet."""
    return pyopenssl_blocking(connection) and not connection.pending()


def oracledb_thick(*_: Any, **__: Any) -> bool:
    """The driver uses Oracle's own C library; else it uses Python's sockets."""
    return not bool(sys.modules["oracledb"].is_thin_mode())
