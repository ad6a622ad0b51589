"""What threads wait for, in words: a lock, a queue with its length, a socket with its peer.

1. Nothing of the program is called: types of the standard library are described by their fields,
   what belongs to the program by its type and address.
2. What is described may change meanwhile, on its own thread: a text, no truth to act on.

Any OS thread that has the GIL.
"""

from __future__ import annotations

import ctypes
import os

from ..contracts.descriptor import Descriptor
from ..cpython import originals
from ..cpython.expressions import UNKNOWN, attribute
from ..cpython.modules import imported
from .stacks import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["described", "is_future", "peer_of"]

_ADDRESS = 128
_UNIX, _INET, _INET6 = 1, 2, (10 if os.uname().sysname == "Linux" else 30)
_HAS_LENGTH = os.uname().sysname != "Linux"
"""BSD's addresses begin with their length."""
_SHOWN_DESCRIPTORS = 4


def described(thing: Any, variable: str = "") -> str:
    """What `thing` is, in a few words; `variable` is what the program calls it, if known."""
    if thing is None:
        return ""
    if type(thing) is Descriptor:
        return _descriptor(thing.fd)
    if type(thing) is dict:
        numbers = [str(number) for number in list(thing)[:_SHOWN_DESCRIPTORS]]
        more = f" and {len(thing) - len(numbers)} more" if len(thing) > len(numbers) else ""
        return f"descriptors {', '.join(numbers)}{more}" if thing else "no descriptor"
    if isinstance(thing, (str, bytes, int)):
        return repr(thing)[:200]
    if callable(thing) and hasattr(type(thing), "__qualname__"):
        name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None)
        if isinstance(name, str):
            return name
    name = f" {variable}" if variable else ""
    return f"{_kind(thing)}{name} at {id(thing):#x}{_fields(thing)}"


def _kind(thing: Any) -> str:
    cls = type(thing)
    if cls is originals.LockType:
        return "Lock"
    if cls is originals.RLockType:
        return "RLock"
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" else f"{module.strip('_')}.{cls.__qualname__}"


def _fields(thing: Any) -> str:
    """What one wants to know of some types of the standard library."""
    threading, queue = imported("threading"), imported("queue")
    if threading is not None:
        if isinstance(thing, threading.Thread):
            return f" ({name_of(_number(thing, '_ident'))})"
        if isinstance(thing, threading.Semaphore):
            return f" (value {_number(thing, '_value')})"
        if isinstance(thing, threading.Barrier):
            parties = _number(thing, "_parties")
            return f" ({_number(thing, '_count')} of {parties} have come)"
    if type(thing).__name__ == "_ModuleLock":
        return f" (the import of {attribute(thing, 'name')})"
    if queue is not None and isinstance(thing, queue.Queue):
        items, most = attribute(thing, "queue"), _number(thing, "maxsize")
        if type(items).__name__ in ("deque", "list"):
            return f" ({len(items)} items{f' of {most}' if most > 0 else ''})"
    if is_future(thing):
        return f" ({str(attribute(thing, '_state')).lower()})"
    return ""


def is_future(thing: Any) -> bool:
    """Whether `thing` is a Future of `concurrent.futures`."""
    futures = imported("concurrent.futures._base")
    return futures is not None and isinstance(thing, futures.Future)


def _number(thing: Any, name: str) -> int:
    value = attribute(thing, name)
    return value if isinstance(value, int) and value is not UNKNOWN else 0


def _descriptor(fd: int) -> str:
    peer = peer_of(fd)
    if peer:
        return f"descriptor {fd} ({peer})"
    try:
        return f"descriptor {fd} ({originals.readlink(f'/proc/self/fd/{fd}')})"
    except OSError:
        return f"descriptor {fd}"


def peer_of(fd: int) -> str:
    """Where a socket is connected to, else where it listens; empty for what is no socket."""
    return _address(fd, "getpeername", "from ") or _address(fd, "getsockname", "at ")


def _address(fd: int, function: str, word: str) -> str:
    import _socket

    libc = ctypes.CDLL(None)
    buffer = ctypes.create_string_buffer(_ADDRESS)
    length = ctypes.c_uint32(_ADDRESS)
    if getattr(libc, function)(fd, buffer, ctypes.byref(length)):
        return ""
    data = buffer.raw[: length.value]
    if len(data) < 2:
        return ""
    family = data[1] if _HAS_LENGTH else data[0] | data[1] << 8
    if family == _UNIX:
        path = data[2:].split(b"\0")[0] or data[3:].rstrip(b"\0")
        return f"{word}{path.decode('utf-8', 'replace')}" if path else ""
    port = int.from_bytes(data[2:4], "big")
    if family == _INET and port:
        return f"{word}{_socket.inet_ntop(_socket.AF_INET, data[4:8])}:{port}"
    if family == _INET6 and port:
        return f"{word}[{_socket.inet_ntop(_socket.AF_INET6, data[8:24])}]:{port}"
    return ""
