"""The calls of the audit itself that must not become part of what is audited.

1. They are bound when this module is imported: before the patch is applied, or after it, and there
   is no other patch afterwards.  A reference taken before a patch would be taken over as well.
2. Any OS thread may call them.  None of them switches to another thread.
"""

from __future__ import annotations

from capriccio_patch import original

__all__ = ["cpu_delay", "process_exit", "pthread_sigmask", "sleep", "start_new_thread", "write"]

start_new_thread = original("_thread.start_new_thread")
sleep = original("time.sleep")
pthread_sigmask = original("_signal.pthread_sigmask")
write = original("os.write")
process_exit = original("os._exit")
_open = original("os.open")
_read = original("os.read")
_close = original("os.close")


def cpu_delay(native_id: int) -> float:
    """For how many seconds, ever, an OS thread of this process could run but had no CPU.

    0 where the system does not tell.  Source: proc_pid_schedstat of Linux.
    """
    try:
        fd = _open(f"/proc/self/task/{native_id}/schedstat", 0)
    except OSError:
        return 0.0
    try:
        return int(_read(fd, 100).split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
    finally:
        _close(fd)
