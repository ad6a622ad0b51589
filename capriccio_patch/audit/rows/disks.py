"""Files and paths of a file system that is slow, as one on a network may be.

It is served by a process of the row's (`filesystem`), which keeps one kind of answer back.  Where
such a file system cannot be mounted these rows are skipped.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import Any

from .. import filesystem, namespace
from ..scene import Scene, Skip, row

_HERE = "slow"
_FILE = "slow/file"


def _slow(scene: Scene, *operations: str) -> None:
    """Mount the file system; its answers to these operations come when the wait is over."""
    _mount(scene, *operations)()


def _mount(scene: Scene, *operations: str) -> Callable[[], None]:
    """Mount the file system; what is returned makes it slow."""
    os.mkdir(_HERE)
    try:
        descriptor = namespace.mount(_HERE)
    except OSError as error:
        raise Skip(f"no slow file system here: {error.strerror or error}") from None
    server = scene.program(filesystem.__file__, str(descriptor), *operations, keep=(descriptor,))
    os.close(descriptor)
    control, answer = server.stdin, server.stdout
    assert control
    assert answer
    scene.after(control.close)

    def make_slow() -> None:
        control.write(b"x")
        control.flush()
        answer.readline()

    return make_slow


def _on_path(name: str, operation: str, call: Callable[[], Any], title: str = "") -> None:
    """A row for a call on a path."""

    @row(title or f"os.{name}")
    def _(scene: Scene) -> Any:
        scene.need(os, name)
        _slow(scene, operation)
        return scene.wait(call)


def _on_file(
    name: str, operation: str, call: Callable[[int], Any], title: str = "", flags: int = os.O_RDWR
) -> None:
    """A row for a call on a descriptor."""

    @row(title or f"os.{name}")
    def _(scene: Scene) -> Any:
        scene.need(os, name)
        make_slow = _mount(scene, operation)
        file = os.open(_FILE, flags)
        make_slow()
        return scene.wait(call, file), os.lseek(file, 0, os.SEEK_CUR)


def _mode(status: os.stat_result) -> int:
    return status.st_mode


_on_path("stat", "LOOKUP", lambda: _mode(os.stat(_FILE)))
_on_path("stat", "GETATTR", lambda: _mode(os.stat(_HERE)), "os.stat (attributes)")
if hasattr(os, "statx"):
    _on_path("statx", "LOOKUP", lambda: os.statx(_FILE, os.STATX_MODE).stx_mode)  # type: ignore[attr-defined]
_on_path("lstat", "LOOKUP", lambda: _mode(os.lstat("slow/link")))
_on_path("access", "LOOKUP", lambda: os.access(_FILE, os.R_OK))
_on_path("readlink", "READLINK", lambda: os.readlink("slow/link"))
_on_path("listdir", "READDIR", lambda: sorted(os.listdir(_HERE)))
_on_path("scandir", "OPENDIR", lambda: sorted(entry.name for entry in os.scandir(_HERE)))
_on_path("statvfs", "STATFS", lambda: os.statvfs(_HERE).f_bavail)
_on_path("getxattr", "GETXATTR", lambda: os.getxattr(_FILE, "user.name"))
_on_path("listxattr", "LISTXATTR", lambda: os.listxattr(_FILE))
_on_path("mkdir", "MKDIR", lambda: os.mkdir("slow/new"))
_on_path("rmdir", "RMDIR", lambda: os.rmdir("slow/directory"))
_on_path("unlink", "UNLINK", lambda: os.unlink(_FILE))
_on_path("remove", "UNLINK", lambda: os.remove(_FILE))
_on_path("rename", "RENAME", lambda: os.rename(_FILE, "slow/new"))
_on_path("replace", "RENAME", lambda: os.replace(_FILE, "slow/other"))
_on_path("link", "LINK", lambda: os.link(_FILE, "slow/new"))
_on_path("symlink", "SYMLINK", lambda: os.symlink("file", "slow/new"))
_on_path("mkfifo", "MKNOD", lambda: os.mkfifo("slow/new"))
_on_path("chmod", "SETATTR", lambda: os.chmod(_FILE, 0o600))
_on_path("utime", "SETATTR", lambda: os.utime(_FILE, (1, 1)))
_on_path("truncate", "SETATTR", lambda: os.truncate(_FILE, 3))
_on_path("setxattr", "SETXATTR", lambda: os.setxattr(_FILE, "user.name", b"value"))
_on_path("removexattr", "REMOVEXATTR", lambda: os.removexattr(_FILE, "user.name"))
_on_path("chown", "SETATTR", lambda: os.chown(_FILE, os.getuid(), os.getgid()))
_on_path("mknod", "MKNOD", lambda: os.mknod("slow/new"))
_on_path("chdir", "LOOKUP", lambda: os.chdir("slow/directory"))
_on_path("open", "LOOKUP", lambda: os.read(os.open(_FILE, os.O_RDONLY), 3))
_on_path("open", "OPEN", lambda: os.read(os.open(_FILE, os.O_RDONLY), 3), "os.open (slow to open)")
_on_path(
    "open",
    "CREATE",
    lambda: os.write(os.open("slow/new", os.O_WRONLY | os.O_CREAT), b"abc"),
    "os.open (a new file)",
)
_on_path("scandir", "READDIR", lambda: len([*os.scandir(_HERE)]), "os.scandir: iteration")
_on_path("stat", "LOOKUP", lambda: os.path.exists(_FILE), "os.path.exists")
_on_path("readlink", "READLINK", lambda: os.path.realpath("slow/link")[-4:], "os.path.realpath")
_on_path("stat", "READDIR", lambda: len([*os.walk(_HERE)]), "os.walk")
_on_path("stat", "READDIR", lambda: len([*pathlib.Path(_HERE).glob("*")]), "pathlib.Path.glob")

_on_file("read", "READ", lambda file: os.read(file, 10), "os.read (file)")
_on_file("readv", "READ", lambda file: os.readv(file, [bytearray(10)]), "os.readv (file)")
_on_file("pread", "READ", lambda file: os.pread(file, 10, 20))
_on_file("preadv", "READ", lambda file: os.preadv(file, [bytearray(10)], 20))
_on_file("write", "WRITE", lambda file: os.write(file, b"abc"), "os.write (file)")
_on_file("writev", "WRITE", lambda file: os.writev(file, [b"abc"]), "os.writev (file)")
_on_file("pwrite", "WRITE", lambda file: os.pwrite(file, b"abc", 5))
_on_file("pwritev", "WRITE", lambda file: os.pwritev(file, [b"abc"], 5))
_on_file("fsync", "FSYNC", os.fsync)
_on_file("fdatasync", "FSYNC", lambda file: os.fdatasync(file))  # noqa: PLW0108  # not on macOS
_on_file("ftruncate", "SETATTR", lambda file: os.ftruncate(file, 3))
_on_file("fstat", "GETATTR", lambda file: _mode(os.fstat(file)))
_on_file("fchmod", "SETATTR", lambda file: os.fchmod(file, 0o600))
_on_file("fchown", "SETATTR", lambda file: os.fchown(file, os.getuid(), os.getgid()))
_on_file("fstatvfs", "STATFS", lambda file: os.fstatvfs(file).f_bavail)
_on_file("posix_fallocate", "FALLOCATE", lambda file: os.posix_fallocate(file, 0, 10))


@row("os.DirEntry.stat")
def _(scene: Scene) -> Any:
    make_slow = _mount(scene, "LOOKUP")
    entries = {entry.name: entry for entry in os.scandir(_HERE)}
    make_slow()
    return _mode(scene.wait(entries["file"].stat))


@row("os.DirEntry.is_dir (link)")
def _(scene: Scene) -> Any:
    make_slow = _mount(scene, "READLINK")
    entries = {entry.name: entry for entry in os.scandir(_HERE)}
    make_slow()
    return scene.wait(entries["link"].is_dir)


@row("os.close (file)")
def _(scene: Scene) -> Any:
    make_slow = _mount(scene, "FLUSH")
    file = os.open(_FILE, os.O_RDWR)
    os.write(file, b"abc")
    make_slow()
    return scene.wait(os.close, file)


@row("os.copy_file_range")
def _(scene: Scene) -> Any:
    scene.need(os, "copy_file_range")
    _slow(scene, "COPY_FILE_RANGE")
    with open(_FILE, "rb") as source, open("slow/other", "r+b") as target:
        return scene.wait(os.copy_file_range, source.fileno(), target.fileno(), 100)


@row("os.sendfile (file)")
def _(scene: Scene) -> Any:
    _slow(scene, "READ")
    here, there = scene.tcp()
    with open(_FILE, "rb") as file:
        sent = scene.wait(os.sendfile, here.fileno(), file.fileno(), 0, 100)
    return sent, there.recv(3)


@row("open (file)")
def _(scene: Scene) -> Any:
    _slow(scene, "LOOKUP")
    with scene.wait(open, _FILE, "rb") as file:
        return file.read(3)


@row("open (slow to open)")
def _(scene: Scene) -> Any:
    _slow(scene, "OPEN")
    with scene.wait(open, _FILE, "rb") as file:
        return file.read(3)


@row("open (a new file)")
def _(scene: Scene) -> Any:
    _slow(scene, "CREATE")
    with scene.wait(open, "slow/new", "w") as file:
        return file.write("abc")


@row("io.BufferedReader.read (file)")
def _(scene: Scene) -> Any:
    _slow(scene, "READ")
    with open(_FILE, "rb") as file:
        return scene.wait(file.read, 3), file.tell()


@row("io.TextIOWrapper.read (file)")
def _(scene: Scene) -> Any:
    _slow(scene, "READ")
    with open(_FILE, encoding="latin-1") as file:
        return len(scene.wait(file.read))


@row("io.BufferedWriter.flush (file)")
def _(scene: Scene) -> Any:
    _slow(scene, "WRITE")
    with open(_FILE, "r+b") as file:
        file.write(b"abc")
        return scene.wait(file.flush), file.tell()


@row("io.FileIO.close (file)")
def _(scene: Scene) -> Any:
    make_slow = _mount(scene, "FLUSH")
    file = open(_FILE, "r+b", 0)  # noqa: SIM115
    file.write(b"abc")
    make_slow()
    return scene.wait(file.close), file.closed


@row("io.BufferedWriter.close (file)")
def _(scene: Scene) -> Any:
    make_slow = _mount(scene, "WRITE", "FLUSH")
    file = open(_FILE, "r+b")  # noqa: SIM115
    file.write(b"abc")
    make_slow()
    return scene.wait(file.close), file.closed


@row("io.FileIO.truncate (file)")
def _(scene: Scene) -> Any:
    _slow(scene, "SETATTR")
    with open(_FILE, "r+b", 0) as file:
        return scene.wait(file.truncate, 3)


@row("shutil.copyfile")
def _(scene: Scene) -> Any:
    _slow(scene, "READ")
    return scene.wait(shutil.copyfile, _FILE, "copy"), os.stat("copy").st_size


@row("shutil.rmtree")
def _(scene: Scene) -> Any:
    _slow(scene, "RMDIR")
    return scene.wait(shutil.rmtree, "slow/directory"), os.path.exists("slow/directory")


@row("import of a module (file)")
def _(scene: Scene) -> Any:
    make_slow = _mount(scene, "LOOKUP")
    pathlib.Path("slow/audited.py").write_text("value = 3\n")
    make_slow()
    sys.path.insert(0, os.path.abspath(_HERE))
    sys.dont_write_bytecode = True
    return scene.wait(importlib.import_module, "audited").value
