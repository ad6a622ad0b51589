"""Looking names up: ``getaddrinfo`` and its kin, on OS threads of their own pool.

libc offers no way to wait for several look-ups, so each takes an OS thread for its time; the pool is
not that of the disk, so that a slow name server does not hold up files.  Numeric addresses need no
look-up and no thread.
"""

from __future__ import annotations

import _socket
from typing import Any

from .. import originals
from ..runtime.workers import Workers
from .base import Patch, Runtime

__all__ = ["patches"]

_FAMILIES = tuple(
    getattr(_socket, name) for name in ("AF_INET", "AF_INET6") if hasattr(_socket, name)
)


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module."""
    kernel = runtime.kernel
    pool = Workers(kernel)
    kernel.on_fork(pool.after_fork)
    original_getaddrinfo = originals.getaddrinfo

    def getaddrinfo(
        host: Any, port: Any, family: Any = 0, type: Any = 0, proto: Any = 0, flags: Any = 0
    ) -> Any:
        if host is None or _is_numeric(host):
            return original_getaddrinfo(host, port, family, type, proto, flags)
        return pool.call(original_getaddrinfo, host, port, family, type, proto, flags)

    def gethostbyname(host: Any, /) -> Any:
        if _is_numeric(host):
            return originals.gethostbyname(host)
        return pool.call(originals.gethostbyname, host)

    def gethostbyname_ex(host: Any, /) -> Any:
        return pool.call(originals.gethostbyname_ex, host)

    def gethostbyaddr(host: Any, /) -> Any:
        return pool.call(originals.gethostbyaddr, host)

    def getnameinfo(address: Any, flags: Any, /) -> Any:
        return pool.call(originals.getnameinfo, address, flags)

    def resolve(sock: Any, address: Any) -> Any:
        """As the C methods do it: the first address of the socket's family."""
        family = originals.socket_family(sock)
        if family not in _FAMILIES or not isinstance(address, tuple) or len(address) < 2:
            return address
        host = address[0]
        if not isinstance(host, (str, bytes, bytearray)) or not host or _is_numeric(host):
            return address
        if host in ("<broadcast>", b"<broadcast>"):
            return address
        if isinstance(host, bytearray):
            host = bytes(host)
        found = pool.call(original_getaddrinfo, host, None, family, _socket.SOCK_DGRAM)
        return (found[0][4][0], *address[1:])

    runtime.resolve = resolve
    return [
        Patch("socket", "_socket", "getaddrinfo", getaddrinfo),
        Patch("socket", "_socket", "gethostbyname", gethostbyname),
        Patch("socket", "_socket", "gethostbyname_ex", gethostbyname_ex),
        Patch("socket", "_socket", "gethostbyaddr", gethostbyaddr),
        Patch("socket", "_socket", "getnameinfo", getnameinfo),
    ]


def _is_numeric(host: Any) -> bool:
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("latin-1")
    if not isinstance(host, str):
        return True  # the original says what is wrong with it
    if ":" in host:
        return True  # only an IPv6 address has one; its scope may be a name of an interface
    try:
        originals.inet_pton(_socket.AF_INET, host)
    except (OSError, ValueError):
        return False
    return True
