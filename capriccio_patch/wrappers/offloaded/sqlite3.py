"""``_sqlite3``: a database in a file is used on worker OS threads, one call at a time.

Facts.  SQLite waits in C: for locks of other connections, asleep between attempts (the ``timeout``
of ``connect``, 5 s by default), for the disk, and for its own computing.  If a green thread waited
so, the one that holds the lock could never commit, and the wait would end in "database is locked"
where stock's ends in success.  No callback of SQLite can park: its C stack holds mutexes.

Decision.  What may wait is offloaded by default: ``execute`` and its kin, ``commit``, ``rollback``,
``close``, ``backup``, ``blobopen``, ``fetchall``, ``fetchmany``, and closing a blob, which commits.
Not offloaded is what goes on from there (``fetchone``, iteration over rows, reading and writing a
blob: a hop for each would cost 30 times what it does, and locks are held by then), a connection to
a database in memory, which nobody else can lock, and everything while there is one green thread
only, whom nobody waits for.

Cost.  30-60 us for each offloaded call, which took 1-10 us when the pages were cached and
milliseconds when it committed to a disk.  A file that is attached to a database in memory is waited
for in C.

1. C refuses a connection to other OS threads than its own.  For the length of a call the worker is
   that OS thread (`_lend`), so the refusal stays in force for all others, and adapters, converters
   and functions that the worker calls back may use the connection.
2. Green threads are refused as OS threads are in stock, with the same words.
3. An interrupt of the caller takes effect at the end of the call, as in stock.
4. There are as many workers as calls: were there a bound, the one that is to release a lock might
   be queued behind those who wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial, wraps
from gc import get_referents
from types import MethodType
from typing import Any

from ...cpython import interpose, originals
from ...io.workers import Workers
from ..base import Method, Offloader, Patch, Runtime
from ..caller import as_caller, on_behalf
from .call import call_to_the_end

__all__ = ["patches"]

_WORKERS = 10_000
_OFFLOADED = {
    "Connection": (
        *("execute", "executemany", "executescript", "commit", "rollback"),
        *("__exit__", "backup", "blobopen", "close"),
    ),
    "Cursor": ("execute", "executemany", "executescript", "fetchall", "fetchmany"),
    "Blob": ("close", "__exit__"),
}
_CHECKED = {
    "Connection": (
        *("create_aggregate", "create_collation", "create_function"),
        *("create_window_function", "cursor", "deserialize", "getconfig", "getlimit", "iterdump"),
        *("serialize", "set_authorizer", "set_progress_handler", "set_trace_callback"),
        *("setconfig", "setlimit", "enable_load_extension", "load_extension"),
    ),
    "Cursor": ("close", "fetchone"),
    "Blob": ("read", "write", "seek", "tell", "__enter__"),
}


def patches(runtime: Runtime, offloaders: dict[type, Offloader]) -> list[Patch]:
    """The rows of this module; in `offloaders` it says how methods that are none of its rows are
    offloaded.  Imports ``_sqlite3``."""
    import _sqlite3

    kernel = runtime.kernel
    get_ident = originals.get_ident
    pool = Workers(kernel, _WORKERS)
    kernel.on_fork(pool.after_fork)
    Connection: Any = _sqlite3.Connection
    original_init = Connection.__dict__["__init__"]
    connection_of_cursor = _sqlite3.Cursor.__dict__["connection"].__get__
    owners: dict[int, int] = {}
    """By id of a connection that checks its threads: who has made it."""
    private: set[int] = set()
    """By id: connections whose databases are all in memory."""
    # Each connection passes through `init`, which clears what an earlier one left at its address.
    scratch = Connection(":memory:")
    owner_word = interpose.word_finder(scratch, get_ident())
    scratch.close()
    if owner_word is None:
        return []

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        as_caller(original_init, self, *args, **kwargs)
        ident = get_ident()
        if _argument(args, kwargs, 4, "check_same_thread", True):
            owners[id(self)] = kernel.current.ident if ident == kernel.os_ident else ident
        else:
            owners.pop(id(self), None)
        if _in_memory(_argument(args, kwargs, 0, "database", None)):
            private.add(id(self))
        else:
            private.discard(id(self))

    def is_others(connection: Any) -> bool:
        owner = owners.get(id(connection))
        return owner is not None and owner != kernel.current.ident

    def check(connection: Any) -> None:
        if is_others(connection):
            raise _sqlite3.ProgrammingError(
                "SQLite objects created in a thread can only be used in that same thread."
                f" The object was created in thread id {owners[id(connection)]}"
                f" and this is thread id {kernel.current.ident}."
            )

    def checked(original: Any, connection_of: Callable[[Any], Any]) -> Method:
        @wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if get_ident() == kernel.os_ident:
                check(connection_of(self))
            return original(self, *args, **kwargs)

        def bind(self: Any, cls: Any) -> Any:
            if get_ident() == kernel.os_ident and is_others(connection_of(self)):
                return MethodType(call, self)
            return original.__get__(self, cls)

        return Method(original, bind, call)

    def offloaded(original: Any, connection_of: Callable[[Any], Any]) -> Method:
        on_worker = always(original, connection_of)

        @wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if id(connection_of(self)) in private or len(kernel.threads) == 1:
                if get_ident() == kernel.os_ident:
                    check(connection_of(self))
                return as_caller(original, self, *args, **kwargs)
            return on_worker(self, *args, **kwargs)

        def bind(self: Any, cls: Any) -> Any:
            if get_ident() == kernel.os_ident:
                connection = connection_of(self)
                if id(connection) not in private or is_others(connection):
                    return MethodType(call, self)
            return original.__get__(self, cls)

        return Method(original, bind, call)

    def always(original: Any, connection_of: Callable[[Any], Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if get_ident() != kernel.os_ident:
                return original(self, *args, **kwargs)
            connection = connection_of(self)
            if connection is None:
                return original(self, *args, **kwargs)
            check(connection)
            word = owner_word(connection)
            named = on_behalf()
            return call_to_the_end(
                kernel, pool, _lend, word, named, original, (self, *args), kwargs
            )

        return call

    def itself(connection: Any) -> Any:
        return connection

    def its_connection(cursor: Any) -> Any:
        try:
            return connection_of_cursor(cursor)
        except AttributeError:  # not initialized, as the original will say
            return None

    def blobs_connection(blob: Any) -> Any:
        return next((each for each in get_referents(blob) if isinstance(each, Connection)), None)

    offloaders[Connection] = partial(always, connection_of=itself)
    offloaders[_sqlite3.Cursor] = partial(always, connection_of=its_connection)
    rows = [Patch("sqlite3", "_sqlite3", "Connection.__init__", init)]
    connections = {"Connection": itself, "Cursor": its_connection, "Blob": blobs_connection}
    for wrap, names in ((checked, _CHECKED), (offloaded, _OFFLOADED)):
        for kind, connection_of in connections.items():
            methods = getattr(_sqlite3, kind).__dict__
            rows += [
                Patch("sqlite3", "_sqlite3", f"{kind}.{name}", wrap(methods[name], connection_of))
                for name in names[kind]
                if name in methods
            ]
    return rows


def _lend(
    word: Any, call: Any, original: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """On a worker: `call` a method of a connection as the OS thread that it belongs to."""
    owner = word.value
    word.value = originals.get_ident()
    try:
        return call(original, args, kwargs)
    finally:
        word.value = owner


def _argument(
    args: tuple[Any, ...], kwargs: dict[str, Any], position: int, name: str, default: Any
) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _in_memory(database: Any) -> bool:
    name = os.fsdecode(database)
    return (
        name in ("", ":memory:")
        or name.startswith("file::memory:")
        or (name.startswith("file:") and "mode=memory" in name)
    )
