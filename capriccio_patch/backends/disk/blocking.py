"""Every operation at once, on the scheduler's OS thread: all threads wait for the disk.

What peers do, and the yardstick for the other schemes.  Only what is not a matter of this machine's
disks goes to workers here too: files that another process serves, perhaps on another machine, names
that have to be looked up there, and files that another process has on lease.
"""

from __future__ import annotations

from ...contracts.disk_backend import DiskBackend
from ...contracts.request import Request
from ...cpython import originals
from ...io.buffers import read_into

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BlockingBackend"]


class BlockingBackend(DiskBackend):
    """Plain system calls."""

    kind = "blocking"
    asks_cache = True

    @classmethod
    def is_available(cls) -> str | None:
        """Everywhere."""
        return None

    def read_now(self, fd: int, buffer: Any, offset: int) -> int:
        """One readv(2) or preadv(2)."""
        if not self.services.is_local(fd):
            return -1
        return read_into(fd, buffer, offset)

    def write_now(self, fd: int, data: Any, offset: int) -> int:
        """One write(2) or pwrite(2)."""
        if not self.services.is_local(fd):
            return -1
        if offset == -1:
            return int(originals.write(fd, data))
        return int(originals.pwrite(fd, data, offset))

    def is_prompt(self) -> bool:
        """Always."""
        return True

    def add_request(self, request: Request) -> bool:
        """Perform it, if it concerns a file of this machine."""
        if request.fd < 0 or not self.services.is_local(request.fd):
            self.services.submit(request)
            return False
        request.perform()
        return True
