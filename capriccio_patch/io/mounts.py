"""Whether a file is on a disk of this machine, or somebody has to be asked for it.

Facts: a network file system, or a process that serves one (FUSE), may take any time for any call:
open, read, write and stat, whatever the kernel has cached, and fstat and statfs too.  For a read
from FUSE, io_uring waits while it is being submitted (Linux 6.18).  statx(2) with
AT_STATX_DONT_SYNC answers from memory, with the number of the mount (Linux 5.8): 0.8 us by ctypes.
/proc/self/mountinfo tells what is mounted there.

Decision: what is not known to be a local file system is left to workers from the first call on.
Where there is no such statx everything counts as local.

The number of a mount that is gone may come back for another; then this is wrong about it, which
costs time and nothing else.  Scheduler's OS thread only.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from ..cpython import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Mounts"]

_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
_STATX_TYPE = 0x1
_STATX_MODE = 0x2
_STATX_MNT_ID = 0x1000
_FLAGS = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC
_WANTED = _STATX_TYPE | _STATX_MODE | _STATX_MNT_ID
_MASK = struct.Struct("=I")
_MODE = struct.Struct("=H")
_MOUNT = struct.Struct("=Q")
_MODE_AT = 28
_MOUNT_AT = 144
_SIZE = 256

_LOCAL = frozenset(
    b"ext2 ext3 ext4 xfs btrfs bcachefs f2fs jfs nilfs2 reiserfs zfs ntfs3 vfat exfat msdos iso9660"
    b" udf squashfs erofs overlay tmpfs ramfs rootfs devtmpfs devpts proc sysfs cgroup cgroup2"
    b" mqueue hugetlbfs debugfs tracefs securityfs bpf pstore configfs efivarfs binfmt_misc".split()
)


class Mounts:
    """What is known of the mounts of this process."""

    __slots__ = ("_buffer", "known", "_statx")

    def __init__(self) -> None:
        self._statx: Any = getattr(ctypes.PyDLL(None), "statx", None)
        self._buffer = ctypes.create_string_buffer(_SIZE)
        self.known: dict[int, bool] = {}
        """By number of a mount: whether it is local."""

    def is_local(self, fd: int) -> bool:
        """Whether a descriptor, which may be an O_PATH one, waits for no other process.

        True for what is neither a file nor a directory, and for a closed one.
        """
        statx = self._statx
        buffer = self._buffer
        if statx is None or statx(fd, b"", _FLAGS, _WANTED, buffer):
            return True
        return self._is_local(buffer)

    def mode(self, fd: int) -> int:
        """``st_mode`` of an open file that is local; -1 of one that is not; 0 if it is closed."""
        statx = self._statx
        buffer = self._buffer
        if statx is None or statx(fd, b"", _FLAGS, _WANTED, buffer):
            try:
                return int(originals.fstat(fd).st_mode)
            except OSError:
                return 0
        return int(_MODE.unpack_from(buffer, _MODE_AT)[0]) if self._is_local(buffer) else -1

    def _is_local(self, buffer: Any) -> bool:
        if not _MASK.unpack_from(buffer)[0] & _STATX_MNT_ID:
            return True
        mount = _MOUNT.unpack_from(buffer, _MOUNT_AT)[0]
        known = self.known.get(mount)
        if known is not None:
            return known
        kind = stat.S_IFMT(_MODE.unpack_from(buffer, _MODE_AT)[0])
        if kind not in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
            return True
        known = self.known[mount] = _find(mount) in _LOCAL
        return known


def _find(mount: int) -> bytes:
    """What is mounted; that of memfd and its like, which is mounted nowhere, is in memory."""
    number = b"%d" % mount
    try:
        fd = originals.os_open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b"tmpfs"
    text = b""
    try:
        while piece := originals.read(fd, 1 << 16):
            text += piece
    finally:
        originals.close(fd)
    for line in text.splitlines():
        if line.partition(b" ")[0] == number:
            return line.rpartition(b" - ")[2].partition(b" ")[0]
    return b"tmpfs"
