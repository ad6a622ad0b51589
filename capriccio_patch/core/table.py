"""Which function of C stands for which of Python.

1. A function of C does the plain case of the Python function and calls that one for the rest, so a
   line may be taken out here and nothing changes but the speed.
2. Rows are named as `wrappers.base.Patch.name` has them.  Several may have one function of C if
   they have one of Python.
"""

__all__ = ["BUILTINS", "KERNEL", "METHODS"]

KERNEL = (
    "begin",
    "cancel",
    "park",
    "resume",
    "yield_",
    "sleep_until",
    "_begin_turn",
    "spawn",
    "yield_if_due",
    "yield_after_calls",
)
"""Methods of `kernel.core.Kernel`; the functions of C have their names."""

METHODS: dict[str, str] = {
    "_io.FileIO.read": "file_read",
    "_io.FileIO.readall": "file_readall",
    "_io.FileIO.readinto": "file_readinto",
    "_socket.socket.recv": "socket_recv",
    "_socket.socket.recv_into": "socket_recv_into",
    "_socket.socket.send": "socket_send",
    "_socket.socket.sendall": "socket_sendall",
}
"""Rows that are methods of a class: what in C becomes a method of that class."""

BUILTINS: dict[str, str] = {
    "time.sleep": "sleep",
    "_thread.get_ident": "get_ident",
    "posix.read": "file_os_read",
    "posix.write": "file_os_write",
}
"""Rows that are builtins: what in C the builtin calls."""
