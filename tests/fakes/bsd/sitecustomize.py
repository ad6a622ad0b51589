"""On PYTHONPATH it makes a Linux interpreter one without what Linux alone has, and with a kqueue.

That is as near to a BSD as Linux gets: names that a BSD's modules lack are deleted before anybody
can ask for them.  ``sys.platform`` stays, because the standard library is Linux's.
"""

from __future__ import annotations

import _signal
import _socket
import importlib.util
import os
import posix
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

# Only modules of C: those of Python, which look for what there is, have not been imported yet.
LACKING: dict[ModuleType, tuple[str, ...]] = {
    select: ("epoll", "POLLRDHUP", *(name for name in vars(select) if name.startswith("EPOLL"))),
    _signal: ("sigtimedwait", "sigwaitinfo"),
    _socket: ("SOCK_CLOEXEC", "SOCK_NONBLOCK", "MSG_ERRQUEUE", "MSG_CMSG_CLOEXEC"),
    time: ("pthread_getcpuclockid",),
}
LACKING_IN_OS = (
    "copy_file_range",
    "eventfd",
    "eventfd_read",
    "eventfd_write",
    "fdatasync",
    "getxattr",
    "memfd_create",
    "pidfd_open",
    "posix_fadvise",
    "posix_fallocate",
    "preadv",
    "pwritev",
    "splice",
    "waitid",
)


def _hide() -> None:
    for module, names in LACKING.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    for module in (os, posix):
        for name in LACKING_IN_OS:
            if hasattr(module, name):
                delattr(module, name)
        beginnings = ("EFD_", "RWF_", "SPLICE_", "P_PIDFD", "MFD_")
        for name in [name for name in vars(module) if name.startswith(beginnings)]:
            delattr(module, name)


@contextmanager
def _standard_numbers_held() -> Iterator[None]:
    """As the package imports `ctypes`: some builds of libffi keep a file open."""
    held: list[int] = []
    while not held or min(held[-2:]) < 3:
        held += os.pipe()
    yield
    for fd in held:
        os.close(fd)


def _install() -> None:
    path = Path(__file__).parent.parent / "kqueue.py"
    spec = importlib.util.spec_from_file_location("fake_kqueue", path)
    assert spec is not None
    assert spec.loader is not None
    fake = importlib.util.module_from_spec(spec)
    with _standard_numbers_held():
        spec.loader.exec_module(fake)
    fake.install(select)


_hide()
_install()
