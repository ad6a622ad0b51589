"""The libraries that are known to wait in C, and what is done for each: one table.

Facts.  A library whose system calls are made in C can't be seen by what is taken over in Python.
While it waits so do all green threads, and where the one it waits for is one of them, that is for
ever.

Decision.  What is done is a row here, and is done when the library is imported; the program sets
nothing.  There are three ways.  *Hooks*: what the library calls of libc is taken over, where the
compiled core is in use and the library is known to bear it.  *Calls on OS threads*: the calls that
may wait, by name (`Calls`).  *An adapter*: a module of this room that has the library wait by the
kernel, where it has an interface for that, or sets the switch that it has for gevent.

Cost.  30-60 us for each call on an OS thread; a call that `conditions` knows not to wait is made at
once.

1. A call on an OS thread that is interrupted goes on to its end, and the interrupt is raised then,
   as in stock, where signal handlers run when a C function has returned.  `Calls.leaves`: the
   interrupt is raised at once, as by a library that asks for signals while it waits.
2. A name that a version of the library does not have is passed over.
"""

from __future__ import annotations

from collections.abc import Callable

from . import conditions as when

__all__ = ["TABLE", "Calls", "Library"]


class Calls:
    """Calls of one module that OS threads make while their callers park."""

    __slots__ = ("leaves", "module", "names", "waits")

    def __init__(
        self,
        module: str,
        names: tuple[str, ...],
        waits: Callable[..., bool] = when.always,
        leaves: bool = False,
    ) -> None:
        self.module = module
        """At whose import they are taken over."""
        self.names = names
        """Functions of it, and methods: ``Class.method``."""
        self.waits = waits
        """Whether a call with these arguments may wait."""
        self.leaves = leaves
        """Whether an interrupt takes the caller away while the call goes on."""


class Library:
    """What is done for one library."""

    __slots__ = ("adapted", "adapter", "calls", "hooked", "name")

    def __init__(
        self,
        name: str,
        calls: tuple[Calls, ...] = (),
        adapter: str = "",
        adapted: tuple[str, ...] = (),
        hooked: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        """As users know it: for ``only``, ``exclude``, CAPRICCIO_NATIVE and ``status()``."""
        self.calls = calls
        self.adapter = adapter
        """The module of this room that adapts it."""
        self.adapted = adapted
        """The modules of the library at whose imports the adapter is called."""
        self.hooked = hooked
        """Extension modules whose calls of libc are taken over, with those of the shared objects
        that they need.  Where that can be done the rest is not."""

    def modules(self) -> list[str]:
        """The modules at whose import there is something to do, those with hooks first."""
        others = [each.module for each in self.calls]
        return [*dict.fromkeys((*self.hooked, *others, *self.adapted))]


def _of(cls: str, *methods: str) -> tuple[str, ...]:
    return tuple(f"{cls}.{method}" for method in methods)


_PSYCOPG2 = "psycopg2._psycopg"
_CYGRPC = "grpc._cython.cygrpc"
_TPC = ("tpc_begin", "tpc_prepare", "tpc_commit", "tpc_rollback", "tpc_recover")

TABLE: tuple[Library, ...] = (
    Library(
        "psycopg2",
        (
            Calls(
                _PSYCOPG2,
                (
                    "_connect",
                    *_of("connection", "commit", "rollback", "close", "reset", "cancel", "lobject"),
                    *_of("connection", "set_session", "set_isolation_level", *_TPC),
                    *_of("connection", "set_client_encoding"),
                    *_of("cursor", "execute", "executemany", "callproc"),
                    *_of("cursor", "copy_from", "copy_to", "copy_expert"),
                    *_of("lobject", "read", "write", "seek", "tell", "close", "unlink"),
                    *_of("lobject", "export", "truncate"),
                    *_of("ReplicationCursor", "start_replication_expert", "consume_stream"),
                ),
                when.psycopg2_connection,
            ),
            Calls(
                _PSYCOPG2,
                _of("cursor", "fetchone", "fetchmany", "fetchall", "__next__", "scroll", "close"),
                when.psycopg2_named,
            ),
        ),
        hooked=(_PSYCOPG2,),
    ),
    Library(
        "psycopg",
        adapter="psycopg",
        adapted=("psycopg.waiting",),
        hooked=("psycopg_binary._psycopg", "psycopg_c._psycopg"),
    ),
    Library(
        "mysqlclient",
        (
            Calls("MySQLdb.connections", ("Connection.__init__",)),
            Calls(
                "MySQLdb._mysql",
                (
                    *_of("connection", "query", "send_query", "read_query_result", "next_result"),
                    *_of("connection", "store_result", "commit", "rollback", "autocommit", "ping"),
                    *_of("connection", "change_user", "select_db", "set_character_set", "close"),
                    *_of("connection", "set_server_option", "shutdown", "kill", "stat"),
                    "result.fetch_row",
                ),
            ),
        ),
        hooked=("MySQLdb._mysql",),
    ),
    Library(
        "oracledb",
        (
            Calls(
                "oracledb.connection",
                (
                    *_of("Connection", "__init__", "begin", "commit", "rollback", "ping", "close"),
                    *_of("Connection", "changepassword", "tpc_end", "tpc_forget", *_TPC),
                ),
                when.oracledb_thick,
            ),
            Calls(
                "oracledb.cursor",
                (
                    *_of("Cursor", "execute", "executemany", "callproc", "callfunc"),
                    *_of("Cursor", "parse", "fetchmany", "fetchall", "scroll"),
                ),
                when.oracledb_thick,
            ),
        ),
    ),
    Library(
        "pyodbc",
        (
            Calls(
                "pyodbc",
                (
                    "connect",
                    *_of("Connection", "execute", "commit", "rollback", "close", "__exit__"),
                    *_of("Cursor", "execute", "executemany", "fetchmany", "fetchall", "nextset"),
                    *_of("Cursor", "commit", "rollback", "close", "__exit__", "tables", "columns"),
                    *_of("Cursor", "statistics", "primaryKeys", "foreignKeys", "procedures"),
                    *_of("Cursor", "procedureColumns", "rowIdColumns", "rowVerColumns"),
                    *_of("Cursor", "getTypeInfo"),
                ),
            ),
        ),
    ),
    Library(
        "pymssql",
        (
            Calls(
                "pymssql",
                (
                    "connect",
                    *_of("Connection", "commit", "rollback", "autocommit", "close", "bulk_copy"),
                    *_of("Cursor", "execute", "executemany", "callproc", "nextset"),
                    *_of("Cursor", "fetchmany", "fetchall", "close"),
                ),
            ),
            Calls(
                "pymssql._mssql",
                (
                    "connect",
                    *_of("MSSQLConnection", "execute_query", "execute_non_query", "execute_row"),
                    *_of("MSSQLConnection", "execute_scalar", "executemany", "nextresult"),
                    *_of("MSSQLConnection", "select_db", "cancel", "close"),
                ),
            ),
        ),
    ),
    Library(
        "pyzmq",
        (
            Calls("zmq", ("proxy", "proxy_steerable", "sugar.proxy", "Context.term"), leaves=True),
            Calls("zmq.devices", ("proxy", "basedevice.proxy"), leaves=True),
        ),
        adapter="pyzmq",
        adapted=("zmq",),
        hooked=("zmq.backend.cython._zmq",),
    ),
    Library(
        "pyopenssl",
        (
            Calls(
                "OpenSSL.SSL",
                _of("Connection", "do_handshake", "send", "sendall", "shutdown"),
                when.pyopenssl_blocking,
            ),
            Calls("OpenSSL.SSL", _of("Connection", "recv", "recv_into"), when.pyopenssl_reading),
        ),
        hooked=("cryptography.hazmat.bindings._rust",),
    ),
    Library(
        "grpcio",
        (
            Calls(
                _CYGRPC,
                (
                    "CompletionQueue.poll",
                    "SegregatedCall.next_event",
                    *_of("Channel", "next_call_event", "watch_connectivity_state"),
                ),
                leaves=True,
            ),
        ),
    ),
    Library(
        "confluent-kafka",
        (
            Calls(
                "confluent_kafka.cimpl",
                (*_of("Producer", "poll", "flush"), *_of("Consumer", "poll")),
                when.timeout_not_zero,
            ),
            Calls(
                "confluent_kafka.cimpl",
                (
                    *_of("Producer", "close", "list_topics", "init_transactions"),
                    *_of("Producer", "commit_transaction", "abort_transaction"),
                    *_of("Producer", "send_offsets_to_transaction"),
                    *_of("Consumer", "consume", "commit", "committed", "close", "unsubscribe"),
                    *_of("Consumer", "get_watermark_offsets", "offsets_for_times", "list_topics"),
                ),
            ),
        ),
    ),
    Library(
        "pulsar-client",
        (
            Calls(
                "_pulsar",
                (
                    *_of("Client", "create_producer", "create_reader", "create_table_view"),
                    *_of("Client", "subscribe", "subscribe_topics", "subscribe_pattern"),
                    *_of("Client", "get_topic_partitions", "get_schema_info", "close"),
                    *_of("Producer", "send", "flush", "close"),
                    *_of("Consumer", "receive", "batch_receive", "acknowledge", "seek"),
                    *_of("Consumer", "acknowledge_cumulative", "get_last_message_id"),
                    *_of("Consumer", "unsubscribe", "close"),
                    *_of("Reader", "read_next", "has_message_available", "seek", "close"),
                    "TableView.close",
                ),
                leaves=True,
            ),
        ),
    ),
    Library(
        "pycurl",
        (
            Calls("pycurl", _of("Curl", "perform", "perform_rb", "perform_rs")),
            Calls("pycurl", _of("CurlMulti", "select"), when.timeout_not_zero),
        ),
        hooked=("pycurl", "pycurl._pycurl"),
    ),
    Library(
        "curses",
        (
            Calls(
                "_curses",
                ("napms", *_of("window", "getch", "getkey", "get_wch", "getstr")),
                leaves=True,
            ),
        ),
        hooked=("_curses",),
    ),
    Library("tkinter", hooked=("_tkinter",)),
    Library("uvloop", hooked=("uvloop.loop",)),
    Library("gevent", hooked=("gevent.libev.corecext", "gevent.libuv._corecffi")),
    Library("bjoern", hooked=("_bjoern",)),
    Library("pygobject", hooked=("gi._gi",)),
    Library(
        "dbus-python",
        (
            Calls(
                "_dbus_bindings",
                (
                    *_of("Connection", "send_message_with_reply_and_block", "flush"),
                    "PendingCall.block",
                ),
            ),
        ),
    ),
    Library("systemd-python", (Calls("systemd._reader", ("_Reader.wait",)),)),
    Library("pygame", hooked=("pygame.time", "pygame.event")),
    Library("opencv", (Calls("cv2", _of("VideoCapture", "__init__", "open", "grab", "read")),)),
    Library("lmdb", hooked=("lmdb.cpython",)),
    Library(
        "apsw",
        (
            Calls(
                "apsw",
                (
                    "Connection.__init__",
                    *_of("Connection", "execute", "executemany", "wal_checkpoint", "close"),
                    *_of("Cursor", "execute", "executemany", "fetchone", "fetchall"),
                    *_of("Cursor", "__next__", "close"),
                    *_of("Blob", "read", "read_into", "write", "close"),
                    *_of("Backup", "step", "finish"),
                ),
            ),
        ),
    ),
    Library(
        "posix_ipc",
        (
            Calls(
                "posix_ipc",
                ("Semaphore.__enter__", *_of("MessageQueue", "send", "receive")),
                leaves=True,
            ),
            Calls("posix_ipc", ("Semaphore.acquire",), when.timeout_not_zero, leaves=True),
        ),
    ),
    Library(
        "sysv_ipc",
        (
            Calls(
                "sysv_ipc",
                (
                    *_of("Semaphore", "acquire", "P", "Z", "__enter__"),
                    *_of("MessageQueue", "send", "receive"),
                ),
                leaves=True,
            ),
        ),
    ),
    Library(
        "faster-fifo",
        (Calls("faster_fifo", _of("Queue", "get", "get_many", "put", "put_many"), leaves=True),),
    ),
    Library("watchfiles", adapter="watchfiles", adapted=("watchfiles._rust_notify",)),
    Library("fastrlock", hooked=("fastrlock.rlock",)),
    Library(
        "ddtrace",
        adapter="ddtrace",
        adapted=("ddtrace.bootstrap", "ddtrace.bootstrap.sitecustomize"),
    ),
)
