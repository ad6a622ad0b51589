"""A file system in memory that is slow on demand: ``python filesystem.py FD OPERATION...``.

FD is an open /dev/fuse with a file system mounted on it (`rows.disks`).  It needs nothing but the
standard library.

* "ready" is written to standard output when the kernel has been answered first.
* After a byte on standard input, which is answered by "slow", the answers to the named operations
  are kept back until standard input ends.

It speaks the kernel's protocol (fuse(4), linux/fuse.h) as of version 7.31.  The kernel caches
nothing for longer than it must: each look-up and each first read comes here.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import struct
import sys
from collections.abc import Callable

_HEADER = struct.Struct("=IIQQIIIHH")
_LARGEST = 1 << 17
_OPERATIONS = {
    "LOOKUP": 1,
    "GETATTR": 3,
    "SETATTR": 4,
    "READLINK": 5,
    "SYMLINK": 6,
    "MKNOD": 8,
    "MKDIR": 9,
    "UNLINK": 10,
    "RMDIR": 11,
    "RENAME": 12,
    "LINK": 13,
    "OPEN": 14,
    "READ": 15,
    "WRITE": 16,
    "STATFS": 17,
    "RELEASE": 18,
    "FSYNC": 20,
    "SETXATTR": 21,
    "GETXATTR": 22,
    "LISTXATTR": 23,
    "REMOVEXATTR": 24,
    "FLUSH": 25,
    "INIT": 26,
    "OPENDIR": 27,
    "READDIR": 28,
    "RELEASEDIR": 29,
    "ACCESS": 34,
    "CREATE": 35,
    "FALLOCATE": 43,
    "RENAME2": 45,
    "COPY_FILE_RANGE": 47,
}
_FORGET = (2, 42)
_INTERRUPT = 36


class _Node:
    def __init__(self, number: int, mode: int) -> None:
        self.number = number
        self.mode = mode
        self.data = bytearray()
        self.entries: dict[bytes, _Node] = {}

    def attributes(self) -> bytes:
        size = len(self.data)
        times = (1, 1, 1, 0, 0, 0)
        owner = (self.mode, 1, os.getuid(), os.getgid(), 0, 4096, 0)
        return struct.pack("=QQQ3Q3I7I", self.number, size, (size + 511) // 512, *times, *owner)

    def entry(self) -> bytes:
        return struct.pack("=QQQQII", self.number, 0, 0, 0, 0, 0) + self.attributes()


class _FileSystem:
    def __init__(self) -> None:
        self._nodes: dict[int, _Node] = {}
        root = self._make(stat.S_IFDIR | 0o777)
        for name in (b"file", b"other"):
            root.entries[name] = self._make(stat.S_IFREG | 0o666)
            root.entries[name].data[:] = bytes(range(256)) * 64
        root.entries[b"link"] = self._make(stat.S_IFLNK | 0o777)
        root.entries[b"link"].data[:] = b"file"
        root.entries[b"directory"] = self._make(stat.S_IFDIR | 0o777)

    def _make(self, mode: int) -> _Node:
        number = len(self._nodes) + 1
        self._nodes[number] = _Node(number, mode)
        return self._nodes[number]

    def answer(self, operation: int, number: int, data: bytes) -> bytes:
        """What the kernel gets; OSError for an error."""
        name = next((name for name, code in _OPERATIONS.items() if code == operation), "")
        method: Callable[[_Node, bytes], bytes] | None = getattr(self, f"_{name.lower()}", None)
        if method is None:
            raise OSError(errno.ENOSYS, "")
        return method(self._nodes.get(number) or self._nodes[1], data)

    def _init(self, _: _Node, data: bytes) -> bytes:
        ahead = struct.unpack_from("=III", data)[2]
        return struct.pack("=IIIIHHIIHHI28x", 7, 31, ahead, 0, 12, 10, _LARGEST, 1, 0, 0, 0)

    def _lookup(self, node: _Node, data: bytes) -> bytes:
        return _child(node, data).entry()

    def _getattr(self, node: _Node, _: bytes) -> bytes:
        return struct.pack("=QII", 0, 0, 0) + node.attributes()

    def _setattr(self, node: _Node, data: bytes) -> bytes:
        valid, size = struct.unpack_from("=I12xQ", data)
        if valid & 8:
            del node.data[size:]
            node.data.extend(bytes(size - len(node.data)))
        if valid & 1:
            mode = struct.unpack_from("=68xI", data)[0]
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return self._getattr(node, data)

    def _readlink(self, node: _Node, _: bytes) -> bytes:
        return bytes(node.data)

    def _symlink(self, node: _Node, data: bytes) -> bytes:
        name, target = data.split(b"\0")[:2]
        made = self._add(node, name, stat.S_IFLNK | 0o777)
        made.data[:] = target
        return made.entry()

    def _mknod(self, node: _Node, data: bytes) -> bytes:
        return self._add(node, data[16:], struct.unpack_from("=I", data)[0]).entry()

    def _mkdir(self, node: _Node, data: bytes) -> bytes:
        mode = struct.unpack_from("=I", data)[0]
        return self._add(node, data[8:], stat.S_IFDIR | mode).entry()

    def _create(self, node: _Node, data: bytes) -> bytes:
        made = self._add(node, data[16:], struct.unpack_from("=4xI", data)[0])
        return made.entry() + self._open(made, data)

    def _add(self, node: _Node, name: bytes, mode: int) -> _Node:
        made = node.entries[name.rstrip(b"\0")] = self._make(mode)
        return made

    def _unlink(self, node: _Node, data: bytes) -> bytes:
        _child(node, data)
        del node.entries[data.rstrip(b"\0")]
        return b""

    _rmdir = _unlink

    def _rename(self, node: _Node, data: bytes, start: int = 8) -> bytes:
        old, new = data[start:].split(b"\0")[:2]
        to = self._nodes[struct.unpack_from("=Q", data)[0]]
        to.entries[new] = node.entries.pop(old)
        return b""

    def _rename2(self, node: _Node, data: bytes) -> bytes:
        return self._rename(node, data, 16)

    def _link(self, node: _Node, data: bytes) -> bytes:
        linked = self._nodes[struct.unpack_from("=Q", data)[0]]
        node.entries[data[8:].rstrip(b"\0")] = linked
        return linked.entry()

    def _open(self, _: _Node, __: bytes) -> bytes:
        return struct.pack("=QII", 0, 0, 0)

    def _opendir(self, _: _Node, __: bytes) -> bytes:
        return struct.pack("=QII", 0, 0, 0)

    def _read(self, node: _Node, data: bytes) -> bytes:
        offset, size = struct.unpack_from("=8xQI", data)
        return bytes(node.data[offset : offset + size])

    def _write(self, node: _Node, data: bytes) -> bytes:
        offset, size = struct.unpack_from("=8xQI", data)
        node.data.extend(bytes(max(0, offset + size - len(node.data))))
        node.data[offset : offset + size] = data[40 : 40 + size]
        return struct.pack("=II", size, 0)

    def _copy_file_range(self, node: _Node, data: bytes) -> bytes:
        start, to, _, at, size = struct.unpack_from("=8xQQQQQ", data)
        taken = node.data[start : start + size]
        target = self._nodes[to].data
        target.extend(bytes(max(0, at + len(taken) - len(target))))
        target[at : at + len(taken)] = taken
        return struct.pack("=II", len(taken), 0)

    def _readdir(self, node: _Node, data: bytes) -> bytes:
        offset = struct.unpack_from("=8xQ", data)[0]
        entries = [(b".", node), (b"..", node), *node.entries.items()]
        text = b""
        for number, (name, child) in enumerate(entries[offset:], offset + 1):
            kind = stat.S_IFMT(child.mode) >> 12
            entry = struct.pack("=QQII", child.number, number, len(name), kind) + name
            text += entry + bytes(-len(entry) % 8)
        return text

    def _statfs(self, _: _Node, __: bytes) -> bytes:
        return struct.pack("=5Q4I24x", 1000, 500, 500, 100, 50, 4096, 255, 4096, 0)

    def _getxattr(self, _: _Node, data: bytes) -> bytes:
        size = struct.unpack_from("=I", data)[0]
        return b"value" if size else struct.pack("=II", 5, 0)

    def _listxattr(self, _: _Node, data: bytes) -> bytes:
        size = struct.unpack_from("=I", data)[0]
        return b"user.name\0" if size else struct.pack("=II", 10, 0)

    def _done(self, _: _Node, __: bytes) -> bytes:
        return b""

    _setxattr = _removexattr = _release = _fsync = _flush = _releasedir = _access = _fallocate = (
        _done
    )


def _child(node: _Node, name: bytes) -> _Node:
    try:
        return node.entries[name.rstrip(b"\0")]
    except KeyError:
        raise OSError(errno.ENOENT, "") from None


def serve(descriptor: int, slow: set[int]) -> None:
    """Answer the kernel for as long as the file system is mounted."""
    files = _FileSystem()
    kept: list[tuple[int, int, int, bytes]] = []
    control = [0]
    is_slow = False
    while True:
        for ready in select.select([descriptor, *control], [], [])[0]:
            if ready == descriptor:
                request = os.read(descriptor, _LARGEST + 4096)
                _, operation, unique, node, *_ = _HEADER.unpack_from(request)
                if operation in _FORGET or operation == _INTERRUPT:
                    continue
                kept.append((operation, unique, node, request[_HEADER.size :]))
            elif os.read(0, 1):
                is_slow = True
                print("slow", flush=True)
            else:
                control.clear()
                is_slow = False
        for each in [one for one in kept if not (is_slow and one[0] in slow)]:
            kept.remove(each)
            _reply(descriptor, files, *each)


def _reply(
    descriptor: int, files: _FileSystem, operation: int, unique: int, node: int, data: bytes
) -> None:
    error = 0
    answer = b""
    try:
        answer = files.answer(operation, node, data)
    except OSError as failure:
        error = -(failure.errno or errno.EIO)
    os.write(descriptor, struct.pack("=IiQ", 16 + len(answer), error, unique) + answer)
    if operation == _OPERATIONS["INIT"]:
        print("ready", flush=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), {_OPERATIONS[name] for name in sys.argv[2:]})
