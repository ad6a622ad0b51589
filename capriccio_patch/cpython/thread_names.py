"""How reports name a thread: as ``threading`` does, which is not imported for it."""

from __future__ import annotations

from .modules import imported

__all__ = ["thread_name"]


def thread_name(ident: int) -> str:
    """What ``repr`` shows of the `threading.Thread` with this identifier; the identifier of a
    thread that has none.  Any OS thread."""
    threading = imported("threading")
    thread = None if threading is None else threading._active.get(ident)
    return f"<thread {ident:#x}>" if thread is None else repr(thread)
