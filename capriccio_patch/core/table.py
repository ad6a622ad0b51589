"""Which function of C stands for which of Python.

1. A function of C does the plain case of the Python function and calls that one for the rest, so a
   line may be taken out here and nothing changes but the speed.
2. Rows are named as `wrappers.base.Patch.name` has them.  Several may have one function of C if
   they have one of Python.
"""

__all__ = ["BUILTINS", "FUNCTIONS", "KERNEL", "METHODS"]

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

FUNCTIONS = ("of_kinds", "pread_now", "swap_thread_handles")
"""What Python calls by these names where there is a core: those of `cpython`, and `os.pread`."""

METHODS: dict[str, str] = {
    "_io.FileIO.__init__": "opening_init",
    "_io.FileIO.close": "opening_close",
    "_io.FileIO.read": "file_read",
    "_io.FileIO.readall": "file_readall",
    "_io.FileIO.readinto": "file_readinto",
    "_socket.socket.__init__": "socket_init",
    "_socket.socket._accept": "socket_accept",
    "_socket.socket.close": "socket_close",
    "_socket.socket.gettimeout": "socket_gettimeout",
    "_socket.socket.recv": "socket_recv",
    "_socket.socket.recv_into": "socket_recv_into",
    "_socket.socket.send": "socket_send",
    "_socket.socket.sendall": "socket_sendall",
    "socket.socket.accept": "listener_accept",
    "socket.socket.close": "listener_close",
    "_thread.LockType.acquire": "lock_acquire",
    "_thread.LockType.acquire_lock": "lock_acquire",
    "_thread.LockType.__enter__": "lock_acquire",
    "_thread.LockType.release": "lock_release",
    "_thread.LockType.release_lock": "lock_release",
    "_thread.LockType.__exit__": "lock_exit",
    "_thread.RLock.acquire": "rlock_acquire",
    "_thread.RLock.__enter__": "rlock_acquire",
    "_thread.RLock.release": "rlock_release",
    "_thread.RLock.__exit__": "rlock_exit",
    "_thread.RLock._is_owned": "rlock_is_owned",
    "_thread.RLock._recursion_count": "rlock_recursion_count",
    "_thread.RLock._release_save": "rlock_release_save",
    "_thread.RLock._acquire_restore": "rlock_acquire_restore",
    "threading.Condition.__enter__": "cond_enter",
    "threading.Condition.__exit__": "cond_exit",
    "threading.Condition.wait": "cond_wait",
    "threading.Condition.notify": "cond_notify",
    "threading.Event.wait": "event_wait",
    "threading.Event.set": "event_set",
    "threading.Event.clear": "event_clear",
    "queue.Queue.put": "queue_put",
    "queue.Queue.get": "queue_get",
    "_queue.SimpleQueue.put": "simple_put",
    "_queue.SimpleQueue.get": "simple_get",
}
"""Rows that are methods of a class: what in C becomes a method of that class."""

BUILTINS: dict[str, str] = {
    "time.sleep": "sleep",
    "_thread.get_ident": "get_ident",
    "posix.read": "os_read",
    "posix.write": "os_write",
}
"""Rows that are builtins: what in C the builtin calls."""
