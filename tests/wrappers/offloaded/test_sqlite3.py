"""Databases in files are waited for by one thread, whichever it is, and not by all."""

from __future__ import annotations

import ctypes
import signal
import sqlite3
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch import offload
from capriccio_patch.cpython import originals

MINE = originals.get_ident()


@pytest.fixture
def database(tmp_path: Path) -> str:
    path = str(tmp_path / "database")
    connection = sqlite3.connect(path)
    connection.execute("create table numbers (n)")
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def company(patched: None) -> Iterator[None]:
    """Another thread, without which nothing would be offloaded."""
    leave = threading.Event()
    thread = threading.Thread(target=leave.wait)
    thread.start()
    yield
    leave.set()
    thread.join()


def in_thread(call: Callable[[], Any]) -> Any:
    """What a call returns, or raises, in another thread."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def where(connection: sqlite3.Connection, method: Callable[..., Any]) -> int:
    """The OS thread that runs a statement of a connection."""
    connection.create_function("os_ident", 0, originals.get_ident)
    return int(next(iter(method("select os_ident()")))[0])


def test_who_waits_for_a_lock_lets_its_holder_go_on(patched: None, database: str) -> None:
    held = threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(database)
        connection.execute("begin immediate")
        connection.execute("insert into numbers values (1)")
        held.set()
        time.sleep(0.05)
        connection.commit()
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    connection = sqlite3.connect(database)
    connection.execute("insert into numbers values (2)")  # waits in C
    connection.commit()
    holder.join()
    assert connection.execute("select n from numbers").fetchall() == [(1,), (2,)]
    connection.close()


def test_many_writers_take_turns(patched: None, database: str) -> None:
    def write(n: int) -> None:
        connection = sqlite3.connect(database)
        with connection:
            connection.execute("begin immediate")
            connection.execute("insert into numbers values (?)", (n,))
        connection.close()

    threads = [threading.Thread(target=write, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection = sqlite3.connect(database)
    assert sorted(n for (n,) in connection.execute("select n from numbers")) == [*range(20)]
    connection.close()


def test_what_is_offloaded(company: None, database: str) -> None:
    connection = sqlite3.connect(database)
    memory = sqlite3.connect(":memory:")
    assert where(connection, connection.execute) != MINE
    assert where(connection, connection.cursor().execute) != MINE
    assert where(connection, sqlite3.Connection.execute.__get__(connection)) != MINE
    assert where(memory, memory.execute) == MINE
    connection.close()
    memory.close()


def test_alone_nothing_is_offloaded(patched: None, database: str) -> None:
    connection = sqlite3.connect(database)
    assert where(connection, connection.execute) == MINE
    execute = connection.execute
    in_thread(lambda: None)
    leave = threading.Event()
    other = threading.Thread(target=leave.wait)
    other.start()
    assert where(connection, execute) != MINE
    leave.set()
    other.join()
    connection.close()


def test_the_program_can_have_more_offloaded(company: None) -> None:
    memory = sqlite3.connect(":memory:")
    offload("sqlite3.Connection.execute", "sqlite3.dbapi2.Connection.execute")
    assert where(memory, memory.execute) != MINE
    seen = []
    memory.row_factory = lambda cursor, row: seen.append(originals.get_ident())
    offload("sqlite3.Cursor.__next__", "sqlite3.Cursor.fetchone")
    [*memory.cursor().execute("select 1")]
    memory.cursor().execute("select 1").fetchone()
    assert len(seen) == 2
    assert MINE not in seen
    memory.close()


def refusal(target: Any, method: str, *args: Any) -> None:
    """A method of an object of this thread, called in another one, is refused as in stock."""
    owner, other = threading.get_ident(), 0

    def run() -> None:
        nonlocal other
        other = threading.get_ident()
        getattr(target, method)(*args)

    error = in_thread(run)
    assert isinstance(error, sqlite3.ProgrammingError)
    assert str(error) == (
        "SQLite objects created in a thread can only be used in that same thread. "
        f"The object was created in thread id {owner} and this is thread id {other}."
    )


@pytest.mark.parametrize("name", [":memory:", "file"])
def test_other_threads_are_refused(patched: None, name: str, database: str) -> None:
    connection = sqlite3.connect(database if name == "file" else name)
    cursor = connection.execute("select 1")
    refusal(connection, "execute", "select 1")
    refusal(connection, "commit")
    refusal(connection, "create_function", "f", 0, int)
    refusal(connection, "cursor")
    refusal(cursor, "fetchone")
    refusal(cursor, "fetchall")
    assert cursor.fetchall() == [(1,)]
    connection.close()


def test_other_os_threads_are_refused(company: None, database: str) -> None:
    connection = sqlite3.connect(database)
    errors = []
    done = originals.allocate_lock()
    originals.lock_acquire(done)

    def outside() -> None:
        try:
            connection.execute("select 1")
        except sqlite3.ProgrammingError as error:
            errors.append(str(error))
        originals.lock_release(done)

    originals.start_new_thread(outside, ())
    assert originals.lock_acquire(done, True, 10)
    assert f"created in thread id {MINE}" in errors[0]
    connection.close()


def test_a_shared_connection_is_not_refused(patched: None, database: str) -> None:
    connection = sqlite3.connect(database, check_same_thread=False)
    assert in_thread(lambda: connection.execute("select 1").fetchall()) == [(1,)]
    in_thread(connection.close)


def test_callbacks_may_use_the_connection(company: None, database: str) -> None:
    connection = sqlite3.connect(database)
    connection.create_function("five", 0, lambda: connection.execute("select 5").fetchone()[0])
    assert connection.execute("select five()").fetchall() == [(5,)]
    connection.close()


def test_callbacks_may_use_the_thread_s_other_connections(company: None, database: str) -> None:
    outer = sqlite3.connect(database)
    other = sqlite3.connect(database)
    made_there: list[sqlite3.Connection] = []

    def look() -> int:
        cursor = other.execute("select 2 union select 3")
        found = sum(n for (n,) in cursor) + other.execute("select 5").fetchone()[0]
        made_there.append(sqlite3.connect(database))
        return int(found + next(iter(made_there[0].execute("select 7")))[0])

    outer.create_function("look", 0, look)
    assert outer.execute("select look()").fetchall() == [(17,)]
    assert made_there[0].execute("select 1").fetchone() == (1,)
    assert other.execute("select 1").fetchone() == (1,)
    for connection in (outer, other, made_there[0]):
        refused = in_thread(lambda: connection.cursor())  # noqa: B023, PLW0108
        assert isinstance(refused, sqlite3.ProgrammingError)
        connection.close()


def test_callbacks_are_refused_what_is_another_thread_s(company: None, database: str) -> None:
    mine = sqlite3.connect(database)

    def run() -> Any:
        theirs = sqlite3.connect(database)
        theirs.create_function("look", 0, lambda: mine.execute("select 1").fetchone()[0])
        errors: list[BaseException] = []

        def hook(raised: Any) -> None:
            errors.append(raised.exc_value)

        before, sys.unraisablehook = sys.unraisablehook, hook
        sqlite3.enable_callback_tracebacks(True)
        try:
            with pytest.raises(sqlite3.OperationalError):
                theirs.execute("select look()").fetchall()
        finally:
            sys.unraisablehook = before
            sqlite3.enable_callback_tracebacks(False)
            theirs.close()
        return errors

    errors = in_thread(run)
    mine.close()
    assert [type(error) for error in errors] == [sqlite3.ProgrammingError]


@pytest.mark.parametrize("where_", ["memory", "file"])
@pytest.mark.parametrize(
    "fetch", ["execute", "executescript", "fetchone", "iterate", "fetchall", "many"]
)
def test_a_shared_connection_runs_one_statement_at_a_time(
    patched: None, database: str, where_: str, fetch: str
) -> None:
    connection = sqlite3.connect(
        ":memory:" if where_ == "memory" else database,
        check_same_thread=False,
        isolation_level=None,
    )
    connection.executescript(
        "create table t (x); create table u (x); insert into u values (1), (2)"
    )
    inside: list[int] = []
    most: list[int] = []

    def slow(value: int) -> int:
        inside.append(threading.get_ident())
        most.append(len(set(inside)))
        time.sleep(0.005)
        inside.remove(threading.get_ident())
        return value

    connection.create_function("slow", 1, slow)

    def run() -> None:
        if fetch == "execute":
            connection.execute("insert into t select slow(x) from u")
        elif fetch == "executescript":
            connection.executescript("insert into t select slow(x) from u;")
        elif fetch == "many":
            connection.executemany("insert into t values (slow(?))", [(1,), (2,)])
        else:
            cursor = connection.execute("select slow(x) from u")
            if fetch == "fetchone":
                assert cursor.fetchone() == (1,)
                assert cursor.fetchone() == (2,)
            elif fetch == "iterate":
                assert list(cursor) == [(1,), (2,)]
            else:
                assert cursor.fetchall() == [(1,), (2,)]

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    connection.close()
    assert len(most) == 6
    assert max(most) == 1


def test_what_asks_the_program_for_more_does_not_keep_others_out(
    patched: None, database: str
) -> None:
    connection = sqlite3.connect(database, check_same_thread=False)
    looked = threading.Event()

    def look() -> None:
        connection.execute("select 1").fetchone()
        looked.set()

    def numbers() -> Iterator[tuple[int]]:
        thread = threading.Thread(target=look)
        thread.start()
        yield (int(looked.wait(5)),)
        thread.join()

    connection.executemany("insert into numbers values (?)", numbers())
    assert connection.execute("select n from numbers").fetchall() == [(1,)]
    connection.close()


def test_errors_are_those_of_stock(company: None, database: str) -> None:
    connection = sqlite3.connect(database)
    with pytest.raises(sqlite3.OperationalError, match="no such table: absent"):
        connection.execute("select * from absent")
    with pytest.raises(TypeError):
        connection.execute()  # type: ignore[call-arg]
    connection.close()
    with pytest.raises(sqlite3.ProgrammingError, match="Cannot operate on a closed database"):
        connection.execute("select 1")
    uninitialized = sqlite3.Cursor.__new__(sqlite3.Cursor)
    with pytest.raises(sqlite3.ProgrammingError, match=r"Base Cursor\.__init__ not called"):
        uninitialized.execute("select 1")


def test_an_interrupt_waits_for_the_end_of_the_call(company: None, database: str) -> None:
    class Interrupted(Exception):
        pass

    def handler(*_: object) -> None:
        raise Interrupted

    def slow() -> int:
        signal.raise_signal(signal.SIGUSR1)
        originals.sleep(0.05)
        finished.append(True)
        return 1

    finished: list[bool] = []
    connection = sqlite3.connect(database)
    connection.create_function("slow", 0, slow)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(Interrupted):
            connection.execute("select slow()")
        assert finished == [True]
        assert connection.execute("select 1").fetchall() == [(1,)]
    finally:
        signal.signal(signal.SIGUSR1, before)
        connection.close()


def test_a_connection_made_before_the_patch(run_script: Any, database: str) -> None:
    run_script(
        """
        import sqlite3, sys, threading
        connection = sqlite3.connect(sys.argv[1])
        early = connection.execute
        import capriccio_patch
        from capriccio_patch.cpython import originals
        capriccio_patch.patch_all()
        leave = threading.Event()
        thread = threading.Thread(target=leave.wait)
        thread.start()
        connection.create_function("os_ident", 0, originals.get_ident)
        for execute in early, connection.execute:
            assert execute("select os_ident()").fetchall() != [(originals.get_ident(),)]
        leave.set()
        thread.join()
        capriccio_patch.unpatch_all()
        assert early("select 1").fetchall() == connection.execute("select 1").fetchall()
        connection.close()
        """,
        database,
    )


def test_nothing_is_kept_alive(company: None, database: str) -> None:
    class Connection(sqlite3.Connection):
        pass

    connection = sqlite3.connect(database, factory=Connection)
    connection.execute("select 1").fetchall()
    connection.close()
    reference = weakref.ref(connection)
    del connection
    assert reference() is None


def test_a_warning_names_the_line_of_the_call_wherever_that_is_made(
    database: str, company: None
) -> None:
    warn = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
        ("PyErr_WarnEx", ctypes.pythonapi)
    )
    connection = sqlite3.connect(database)
    connection.create_function("warn", 0, partial(warn, UserWarning, b"told", 1))
    assert where(connection, connection.execute) != MINE
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        there = sys._getframe().f_lineno + 1
        connection.execute("select warn()").fetchone()
    connection.close()
    assert [(each.filename, each.lineno) for each in found] == [(__file__, there)]
