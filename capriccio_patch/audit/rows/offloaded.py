"""What cannot be parked and goes to worker threads: sqlite3's busy wait, a C function by name."""

from __future__ import annotations

import ctypes
import sqlite3
from collections.abc import Callable
from typing import Any

from ..scene import DELAY, Scene, row


def _busy(scene: Scene, call: Callable[[sqlite3.Connection], Any], held: str = "IMMEDIATE") -> Any:
    """``call(connection)`` has to wait until another connection ends its transaction."""
    holder = sqlite3.connect("data", isolation_level=None, check_same_thread=False)
    holder.execute("CREATE TABLE items (item)")
    holder.execute(f"BEGIN {held}")
    connection = sqlite3.connect("data", timeout=10)
    scene.after(holder.execute, "COMMIT")
    result = scene.wait(call, connection)
    return result, connection.in_transaction


@row("sqlite3.Connection.execute (busy)")
def _(scene: Scene) -> Any:
    return _busy(scene, lambda c: c.execute("INSERT INTO items VALUES (1)").rowcount)


@row("sqlite3.Connection.executemany (busy)")
def _(scene: Scene) -> Any:
    return _busy(
        scene, lambda c: c.executemany("INSERT INTO items VALUES (?)", [(1,), (2,)]).rowcount
    )


@row("sqlite3.Connection.executescript (busy)")
def _(scene: Scene) -> Any:
    return _busy(scene, lambda c: c.executescript("INSERT INTO items VALUES (1);").rowcount)


@row("sqlite3.Cursor.execute (busy)")
def _(scene: Scene) -> Any:
    return _busy(scene, lambda c: c.cursor().execute("INSERT INTO items VALUES (1)").rowcount)


@row("sqlite3.Cursor.fetchall (busy)")
def _(scene: Scene) -> Any:
    call = lambda c: c.execute("SELECT item FROM items").fetchall()  # noqa: E731
    return _busy(scene, call, "EXCLUSIVE")


def _read_meanwhile(scene: Scene) -> sqlite3.Connection:
    """A connection with a transaction, which a reader keeps from committing."""
    holder = sqlite3.connect("data", isolation_level=None, check_same_thread=False)
    holder.executescript("CREATE TABLE items (item); INSERT INTO items VALUES (1);")
    connection = sqlite3.connect("data", timeout=10)
    connection.execute("INSERT INTO items VALUES (2)")
    holder.execute("BEGIN")
    holder.execute("SELECT item FROM items").fetchall()
    scene.after(holder.execute, "COMMIT")
    return connection


@row("sqlite3.Connection.commit (busy)")
def _(scene: Scene) -> Any:
    connection = _read_meanwhile(scene)
    return scene.wait(connection.commit), connection.in_transaction


@row("sqlite3.Connection (busy): end of a with block")
def _(scene: Scene) -> Any:
    connection = _read_meanwhile(scene)

    def commit() -> bool:
        with connection:
            return connection.in_transaction

    return scene.wait(commit), connection.in_transaction


@row("sqlite3.Connection.backup (busy)")
def _(scene: Scene) -> Any:
    def copy(connection: sqlite3.Connection) -> int:
        with sqlite3.connect("copy") as target:
            connection.backup(target, sleep=DELAY / 10)
            return len(target.execute("SELECT * FROM items").fetchall())

    return _busy(scene, copy, "EXCLUSIVE")


@row("sqlite3.Connection.blobopen (busy)")
def _(scene: Scene) -> Any:
    holder = _blobs()
    holder.execute("BEGIN IMMEDIATE")
    connection = sqlite3.connect("data", timeout=10)
    scene.after(holder.execute, "COMMIT")
    with scene.wait(connection.blobopen, "items", "item", 1) as blob:
        return blob.read()


@row("sqlite3.Blob.close (busy)")
def _(scene: Scene) -> Any:
    """Closing it commits, and a reader keeps it from that."""
    holder = _blobs()
    connection = sqlite3.connect("data", timeout=10, isolation_level=None)
    blob = connection.blobopen("items", "item", 1)
    blob.write(b"xyz")
    holder.execute("BEGIN")
    holder.execute("SELECT item FROM items").fetchall()
    scene.after(holder.execute, "COMMIT")
    return scene.wait(blob.close), connection.execute("SELECT item FROM items").fetchall()


def _blobs() -> sqlite3.Connection:
    holder = sqlite3.connect("data", isolation_level=None, check_same_thread=False)
    holder.executescript("CREATE TABLE items (item BLOB); INSERT INTO items VALUES (x'616263');")
    return holder


@row("sqlite3.Connection.execute (busy, timeout)")
def _(scene: Scene) -> Any:
    holder = sqlite3.connect("data", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    connection = sqlite3.connect("data", timeout=DELAY)
    return scene.wait(connection.execute, "CREATE TABLE items (item)")


def sleep_in_c(seconds: float) -> int:
    """Sleeps without the interpreter's knowledge."""
    result: int = ctypes.CDLL(None).usleep(int(seconds * 1e6))
    return result


@row("a C function, offloaded by name", offload=(f"{__name__}.sleep_in_c",))
def _(scene: Scene) -> Any:
    return scene.wait(sleep_in_c, DELAY)
