"""``_sqlite3``: a database in a file is used on worker OS threads, one call at a time.

Facts.  SQLite waits in C: for locks of other connections, asleep between attempts (the ``timeout``
of ``connect``, 5 s by default), for the disk, and for its own computing.  If a green thread waited
so, the one that holds the lock could never commit, and the wait would end in "database is locked"
where stock's ends in success.  A connection's mutex
is recursive for each OS thread, so it does not keep green threads apart: a statement that waits in
a function of the program's would let another thread's statement into it.

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
   that OS thread (`_Connections.use`), so the refusal stays in force for all others, and adapters,
   converters and functions that the worker calls back may use the connection and others of theirs.
2. Green threads are refused as OS threads are in stock, with the same words.  Where a connection is
   for all threads they take turns with it, a call each; C has them take turns for each step.
3. An interrupt of the caller takes effect at the end of the call, as in stock.
4. There are as many workers as calls: were there a bound, the one that is to release a lock might
   be queued behind those who wait for it.
"""

from __future__ import annotations

import _thread
import os
from collections.abc import Callable, Iterator
from functools import partial, wraps
from gc import get_referents
from types import MethodType

from ...cpython import interpose, originals
from ...io.workers import Workers
from ...kernel.core import Kernel
from ..base import Method, Offloader, Patch, Runtime
from ..caller import as_caller, on_behalf
from .call import call_to_the_end

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    connections = _Connections(kernel, _sqlite3)
    if connections.word is None:
        return []
    found = {
        "Connection": connections.itself,
        "Cursor": connections.of_cursor,
        "Blob": connections.of_blob,
    }
    calls = {
        kind: _Calls(kernel, connections, connection_of) for kind, connection_of in found.items()
    }
    for kind in ("Connection", "Cursor"):
        offloaders[getattr(_sqlite3, kind)] = calls[kind].always
    cursor = _sqlite3.Cursor.__dict__
    rows = [
        Patch("sqlite3", "_sqlite3", "Connection.__init__", connections.make_init()),
        Patch(
            "sqlite3",
            "_sqlite3",
            "Cursor.__iter__",
            _iteration(kernel, connections, cursor["__iter__"], cursor["__next__"]),
        ),
    ]
    for kind, its in calls.items():
        methods = getattr(_sqlite3, kind).__dict__
        for wrap, names in ((its.checked, _CHECKED), (its.offloaded, _OFFLOADED)):
            rows += [
                Patch("sqlite3", "_sqlite3", f"{kind}.{name}", wrap(methods[name]))
                for name in names[kind]
                if name in methods
            ]
    return rows


class _Connections:
    """What is known of each connection, by its id.

    Each passes through ``__init__``, which clears what an earlier one left at its address.
    """

    def __init__(self, kernel: Kernel, sqlite: Any) -> None:
        self._kernel = kernel
        self._sqlite = sqlite
        self._of_cursor = sqlite.Cursor.__dict__["connection"].__get__
        scratch = sqlite.Connection(":memory:")
        self.word = interpose.word_finder(scratch, originals.get_ident())
        """Where C keeps which OS thread a connection belongs to."""
        scratch.close()
        self.owners: dict[int, int] = kernel.shared("owners of connections", {})
        """Who has made it, of those that check their threads."""
        self.private: set[int] = kernel.shared("private connections", set())
        """Those whose databases are all in memory."""
        self.turns: dict[int, Any] = kernel.shared("turns of connections", {})
        """Recursive locks, of those that threads share."""
        self._borrowed: dict[int, list[tuple[Any, int]]] = {}
        """By OS thread that calls a method: the words of other connections that it uses."""

    def make_init(self) -> Callable[..., None]:
        """What takes the place of ``Connection.__init__``."""
        original = self._sqlite.Connection.__dict__["__init__"]
        kernel = self._kernel

        def init(connection: Any, *args: Any, **kwargs: Any) -> None:
            as_caller(original, connection, *args, **kwargs)
            key = id(connection)
            if _argument(args, kwargs, 4, "check_same_thread", True):
                self.owners[key] = self._me()
                self.turns.pop(key, None)
                lender = kernel.threads.get(kernel.proxies.get(originals.get_ident(), 0))
                if lender is not None:
                    self._word_of(connection).value = kernel.of(lender).os_ident
            else:
                self.owners.pop(key, None)
                self.turns[key] = _thread.RLock()
            if _in_memory(_argument(args, kwargs, 0, "database", None)):
                self.private.add(key)
            else:
                self.private.discard(key)

        return init

    def _me(self) -> int:
        ident: int = originals.get_ident()
        if ident == self._kernel.os_ident:
            return self._kernel.current.ident
        return self._kernel.proxies.get(ident, ident)

    def _word_of(self, connection: Any) -> Any:
        assert self.word is not None
        return self.word(connection)

    def is_others(self, connection: Any) -> bool:
        """Whether it checks its threads and another thread than this one has made it."""
        owner = self.owners.get(id(connection))
        return owner is not None and owner != self._me()

    def check(self, connection: Any) -> None:
        """ProgrammingError if it is another thread's."""
        if self.is_others(connection):
            raise self._sqlite.ProgrammingError(
                "SQLite objects created in a thread can only be used in that same thread."
                f" The object was created in thread id {self.owners[id(connection)]}"
                f" and this is thread id {self._me()}."
            )

    def use(
        self, connection: Any, call: Any, original: Any, args: tuple[Any, ...], named: Any
    ) -> Any:
        """On the OS thread of a proxy: `call` a method of a connection as the OS thread that it
        belongs to.

        Other connections that are used meanwhile stay the proxy's as long: a cursor that is
        iterated over asks C for each row.
        """
        ident = originals.get_ident()
        word = self._word_of(connection)
        outer = self._borrowed.get(ident)
        if outer is not None:
            outer.append((word, word.value))
            word.value = ident
            return call(original, args, named)
        self._borrowed[ident] = borrowed = [(word, word.value)]
        word.value = ident
        try:
            return call(original, args, named)
        finally:
            for word, owner in reversed(borrowed):
                word.value = owner
            del self._borrowed[ident]

    def itself(self, connection: Any) -> Any:
        return connection

    def of_cursor(self, cursor: Any) -> Any:
        """None of one that is not initialized, as the original will say."""
        try:
            return self._of_cursor(cursor)
        except AttributeError:
            return None

    def of_blob(self, blob: Any) -> Any:
        kind = self._sqlite.Connection
        return next((each for each in get_referents(blob) if isinstance(each, kind)), None)


class _Calls:
    """Makes the replacements of one class's methods; `connection_of` tells an instance's."""

    def __init__(
        self, kernel: Kernel, connections: _Connections, connection_of: Callable[[Any], Any]
    ) -> None:
        self._kernel = kernel
        self._connections = connections
        self._connection_of = connection_of
        self._pool = Workers(kernel, _WORKERS)
        kernel.on_fork(self._pool.after_fork)

    def checked(self, original: Any) -> Method:
        """A method that does not wait."""

        def here(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            self._connections.check(connection)
            return original(*args, **kwargs)

        return self._method(original, here, None)

    def offloaded(self, original: Any) -> Method:
        """A method that may wait."""
        private = self._connections.private
        on_worker = self._on_worker(original)

        def here(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if id(connection) in private or len(self._kernel.threads) == 1:
                self._connections.check(connection)
                return as_caller(original, *args, **kwargs)
            return on_worker(connection, args, kwargs)

        return self._method(original, here, private)

    def always(self, original: Any) -> Callable[..., Any]:
        """A method that the program wants to have offloaded, wherever the database is."""
        return self._call(original, self._on_worker(original))

    def _on_worker(self, original: Any) -> Callable[..., Any]:
        kernel, pool, connections = self._kernel, self._pool, self._connections

        def on_worker(connection: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            connections.check(connection)
            call = partial(connections.use, connection, on_behalf(), original, args, kwargs)
            return call_to_the_end(kernel, pool, call)

        return on_worker

    def _call(self, original: Any, here: Callable[..., Any]) -> Callable[..., Any]:
        kernel, connections, connection_of = self._kernel, self._connections, self._connection_of
        get_ident = originals.get_ident
        proxies, turns = kernel.proxies, connections.turns

        @wraps(original)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            ident = get_ident()
            if ident != kernel.os_ident and ident not in proxies:
                return original(self, *args, **kwargs)
            connection = connection_of(self)
            if connection is None:
                return original(self, *args, **kwargs)
            if ident != kernel.os_ident:
                connections.check(connection)
                return connections.use(connection, _plainly, original, (self, *args), kwargs)
            turn = turns.get(id(connection))
            if turn is None or _asks_the_program(original, args):
                return here(connection, (self, *args), kwargs)
            with turn:
                return here(connection, (self, *args), kwargs)

        return call

    def _method(self, original: Any, here: Callable[..., Any], direct: set[int] | None) -> Method:
        """`direct`: connections whose method C may be called for directly; None: all."""
        kernel, connection_of = self._kernel, self._connection_of
        owners = self._connections.owners
        get_ident = originals.get_ident
        proxies = kernel.proxies
        call = self._call(original, here)

        def bind(self: Any, cls: Any) -> Any:
            ident = get_ident()
            if ident == kernel.os_ident:
                key = id(connection_of(self))
                if owners.get(key) != kernel.current.ident or (
                    direct is not None and key not in direct
                ):
                    return MethodType(call, self)
            elif ident in proxies:
                return MethodType(call, self)
            return original.__get__(self, cls)

        return Method(original, bind, call)


def _iteration(kernel: Kernel, connections: _Connections, original: Any, fetch: Any) -> Method:
    """``iter(cursor)``: the cursor itself, unless its rows have to be fetched in turns."""

    def rows(cursor: Any, turn: Any) -> Iterator[Any]:
        while True:
            with turn:
                try:
                    row = fetch(cursor)
                except StopIteration:
                    return
            yield row

    @wraps(original)
    def call(cursor: Any) -> Any:
        turn = connections.turns.get(id(connections.of_cursor(cursor)))
        if turn is None or not kernel.is_mine():
            return original(cursor)
        return rows(cursor, turn)

    def bind(cursor: Any, cls: Any) -> Any:
        if connections.turns:
            return MethodType(call, cursor)
        return original.__get__(cursor, cls)

    return Method(original, bind, call)


def _plainly(function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    return function(*args, **named)


def _asks_the_program(original: Any, args: tuple[Any, ...]) -> bool:
    """Whether the call fetches what it is to store from an iterator, for which it does not hold
    SQLite's mutex, and which may wait for a thread that uses the connection."""
    return (
        original.__name__ == "executemany"
        and len(args) > 1
        and not isinstance(args[1], (list, tuple))
    )


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
