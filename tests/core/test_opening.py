"""Files that C opens and closes: what it does at once, and what it leaves to Python."""

from __future__ import annotations

import fcntl
import io
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import capriccio_patch
from capriccio_patch.core.binding import COMPILED
from tests.conftest import RunScript


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    pytest.importorskip("capriccio_patch.core._core")
    monkeypatch.setenv("CAPRICCIO_CORE", "compiled")
    capriccio_patch.patch_all()
    if capriccio_patch.status()["core"] != COMPILED:
        capriccio_patch.unpatch_all()
        pytest.skip("not for this system")
    yield
    capriccio_patch.unpatch_all()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"some text")
    return path


def test_the_methods_are_of_c() -> None:
    for name in ("__init__", "close"):
        stock = capriccio_patch.original(f"_io.FileIO.{name}")
        assert vars(io.FileIO)[name] is not stock
        assert type(vars(io.FileIO)[name]) is type(stock)


@pytest.mark.parametrize("beside", [0, 1])
def test_what_is_opened_is_as_stock_opens_it(path: Path, beside: int) -> None:
    over = threading.Event()
    threads = [threading.Thread(target=over.wait) for _ in range(beside)]
    for thread in threads:
        thread.start()
    for name in (str(path), os.fsencode(path), path):
        for mode in ("r", "rb"):
            with open(name, mode) as file:
                flags = fcntl.fcntl(file.fileno(), fcntl.F_GETFL)
                assert flags & os.O_NONBLOCK == 0
                assert flags & os.O_ACCMODE == os.O_RDONLY
                assert not os.get_inheritable(file.fileno())
                assert file.name == (str(path) if name is path else name)
                assert file.read() in ("some text", b"some text")
                number = file.fileno()
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(number)
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("name", ["plain", "n\xe4me", "\u0436", "\udcff"])
def test_a_name_of_any_letters(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    for each in (path, os.fsencode(path)):
        with io.FileIO(each, "w") as file:
            file.write(os.fsencode(each))
        for _ in range(2):
            with open(each, "rb", buffering=0) as file:
                assert type(file) is io.FileIO
                assert file.name == each
                assert repr(file) == f"<_io.FileIO name={each!r} mode='rb' closefd=True>"
                assert file.read() == os.fsencode(each)
    with pytest.raises(ValueError, match="embedded null"):
        open(os.fsencode(path) + b"\0", "rb")  # noqa: SIM115


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("{}", IsADirectoryError, "Is a directory: '{}'"),
        ("{}/file/below", NotADirectoryError, "Not a directory: '{}/file/below'"),
        ("{}/absent", FileNotFoundError, "No such file or directory: '{}/absent'"),
        ("", FileNotFoundError, "No such file or directory: ''"),
        ("a\0b", ValueError, "embedded null"),
    ],
)
def test_what_is_no_file_has_the_error_of_stock(
    path: Path, name: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=re.escape(text.format(path.parent))):
        open(name.format(path.parent), "rb")  # noqa: SIM115


def test_a_fifo_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[bytes] = []

    def reader() -> None:
        with open(path, "rb") as file:
            read.append(file.read())

    thread = threading.Thread(target=reader)
    thread.start()
    with open(path, "wb") as file:
        file.write(b"x")
    thread.join()
    assert read == [b"x"]


def n_open(*paths: Path) -> int:
    """How many descriptors of this process lead to them."""
    links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return sum(links.count(str(path)) for path in paths)


@pytest.mark.parametrize("comes", ["first", "later", "and goes"])
def test_a_fifo_where_a_file_was_is_waited_for(path: Path, comes: str) -> None:
    """Once without being looked at before it is opened, and once as any fifo."""
    path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    for _ in range(2):
        if comes == "and goes":
            with subprocess.Popen(["sh", "-c", 'printf words > "$1"', "sh", path]):
                time.sleep(0.1)  # it waits for a reader by then, as far as can be told
                assert path.read_bytes() == b"words"
            continue
        thread = threading.Thread(target=path.write_bytes, args=(b"words",))
        if comes == "first":
            thread.start()
            time.sleep(0.05)
        else:
            threading.Timer(0.05, thread.start).start()
        with open(path, "rb") as file:
            assert not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_NONBLOCK
            assert file.read() == b"words"
        thread.join()
    assert not n_open(path)


def test_something_else_where_a_file_was(path: Path) -> None:
    link, null = path.with_name("link"), Path(os.devnull)
    before = n_open(path.parent, null)
    for _ in range(2):
        link.symlink_to(path)
        assert link.read_bytes() == b"some text"
        link.unlink()
        with pytest.raises(FileNotFoundError):
            link.read_bytes()
        link.symlink_to(path.parent)
        with pytest.raises(IsADirectoryError):
            link.read_bytes()
        link.unlink()
        link.symlink_to(null)
        assert link.read_bytes() == b""
        link.unlink()
    assert n_open(path.parent, null) == before


def test_an_object_that_is_opened_again_loses_no_descriptor(path: Path) -> None:
    file = io.FileIO(str(path))
    number = file.fileno()
    file.__init__(str(path), "r", True, None)  # type: ignore[misc]
    assert file.fileno() == number
    assert file.read() == b"some text"
    file.close()
    file.close()
    assert file.closed


def test_an_audit_hook_may_open_files_itself(run_script: RunScript, path: Path) -> None:
    """In a process of its own: the hook stays."""
    done = run_script(
        """
        import sys
        import capriccio_patch
        capriccio_patch.patch_all()
        asked = []
        def hook(event, args):
            if event == "open" and not asked:
                asked.append(args)
                try:
                    open("/nowhere/at/all")
                except FileNotFoundError:
                    print("refused")
        sys.addaudithook(hook)
        with open(sys.argv[1]) as file:
            print(file.read())
        """,
        str(path),
    )
    assert done.stdout == "refused\nsome text\n"


def test_nothing_is_held_of_what_was_closed(path: Path) -> None:
    name = str(path)
    before = sys.getrefcount(name)
    for _ in range(300):
        open(name, "rb").close()
    assert sys.getrefcount(name) == before
