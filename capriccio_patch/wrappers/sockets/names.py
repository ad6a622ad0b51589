"""Looking names up: ``getaddrinfo`` and its kin, on OS threads of their own pool.

libc offers no way to wait for several look-ups, so each takes an OS thread for its time; the pool
is not that of the disk, so that a slow name server does not hold up files.  Numeric addresses need
no look-up and no thread.
"""

from __future__ import annotations

import _socket
import operator
from collections.abc import Callable
from functools import partial

from ...cpython import originals
from ...io.workers import Workers
from ...kernel.core import Kernel
from ..base import Patch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches", "pool_of", "resolver"]

_LENGTHS = {
    getattr(_socket, name): lengths
    for name, lengths in (("AF_INET", (2,)), ("AF_INET6", (2, 3, 4)))
    if hasattr(_socket, name)
}
"""How many items an address of a family may have."""


def pool_of(kernel: Kernel) -> Workers:
    """The OS threads on which names are looked up."""
    pool = Workers(kernel)
    kernel.on_fork(pool.after_fork)
    return pool


def patches(pool: Workers) -> list[Patch]:
    """The rows of this module."""
    original_getaddrinfo = originals.getaddrinfo

    def getaddrinfo(*args: Any, **kwargs: Any) -> Any:
        host = args[0] if args else kwargs.get("host")
        if host is None or _is_numeric(host):
            return original_getaddrinfo(*args, **kwargs)
        if kwargs:
            return pool.call(partial(original_getaddrinfo, **kwargs), *args)
        return pool.call(original_getaddrinfo, *args)

    def gethostbyname(*args: Any) -> Any:
        if len(args) != 1 or _is_numeric(args[0]):
            return originals.gethostbyname(*args)
        return pool.call(originals.gethostbyname, *args)

    def gethostbyname_ex(*args: Any) -> Any:
        return pool.call(originals.gethostbyname_ex, *args)

    def gethostbyaddr(*args: Any) -> Any:
        return pool.call(originals.gethostbyaddr, *args)

    def getnameinfo(*args: Any) -> Any:
        if not args or not isinstance(args[0], tuple):
            try:
                return originals.getnameinfo(*args)  # raises
            finally:
                del args  # the traceback must not hold them: a C function's does not
        return pool.call(originals.getnameinfo, *args)

    return [
        Patch("socket", "_socket", "getaddrinfo", getaddrinfo),
        Patch("socket", "_socket", "gethostbyname", gethostbyname),
        Patch("socket", "_socket", "gethostbyname_ex", gethostbyname_ex),
        Patch("socket", "_socket", "gethostbyaddr", gethostbyaddr),
        Patch("socket", "_socket", "getnameinfo", getnameinfo),
    ]


def resolver(pool: Workers) -> Callable[[Any, Any], Any]:
    """``resolve(sock, address)``: a socket's address with its host name looked up."""

    def resolve(sock: Any, address: Any) -> Any:
        """As the C methods do it: the first address of the socket's family."""
        family = originals.socket_family(sock)
        if family not in _LENGTHS or not _is_well_formed(address, _LENGTHS[family]):
            return address  # whatever is wrong with it the original says before it looks up
        host = address[0]
        if not isinstance(host, (str, bytes, bytearray)) or _is_numeric(host):
            return address
        encoded = _encoded(host)
        if encoded in (None, b"", b"<broadcast>"):
            return address
        found = pool.call(originals.getaddrinfo, encoded, None, family, _socket.SOCK_DGRAM)
        return (found[0][4][0], *address[1:])

    return resolve


def _is_well_formed(address: Any, lengths: tuple[int, ...]) -> bool:
    if not isinstance(address, tuple) or len(address) not in lengths:
        return False
    try:
        port, *_ = [operator.index(number) for number in address[1:]]
    except TypeError:
        return False
    return -(1 << 31) <= port < 1 << 31


def _encoded(host: str | bytes | bytearray) -> bytes | None:
    """A host name as it is passed to libc; None if the original refuses it."""
    try:
        if isinstance(host, str):
            host = host.encode("ascii" if host.isascii() else "idna")
    except UnicodeError:
        return None
    return None if 0 in host else bytes(host)


def _is_numeric(host: Any) -> bool:
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("latin-1")
    if not isinstance(host, str):
        return True  # the original says what is wrong with it
    try:
        if ":" in host:
            originals.inet_pton(_socket.AF_INET6, host.partition("%")[0])
        else:
            originals.inet_pton(_socket.AF_INET, host)
    except (AttributeError, OSError, ValueError):
        return False
    return True
