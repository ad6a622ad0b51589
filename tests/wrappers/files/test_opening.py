"""Opening files and fifos: in every scheme, and given up."""

from __future__ import annotations

import fcntl
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capriccio_patch.io.name_cache import Lookup
from tests.inside import applied

needs_openat2 = pytest.mark.skipif(not Lookup().works, reason="no openat2")


def test_opening_a_fifo_parks(ticker: Any, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    others: list[int] = []
    with ticker().at(3, lambda: others.append(os.open(path, os.O_WRONLY))):
        fd = os.open(path, os.O_RDONLY)
    os.close(fd)
    os.close(others.pop())


def test_an_open_that_is_given_up_leaves_no_descriptor(
    run_script: Callable[..., Any], tmp_path: Path
) -> None:
    code = """
        import capriccio_patch, os, signal, sys, threading
        capriccio_patch.patch_all()
        path = sys.argv[1]
        os.mkfifo(path)

        def ring(*_):
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            os.open(path, os.O_RDONLY)
        except KeyboardInterrupt:
            pass
        writer = os.open(path, os.O_WRONLY)  # the abandoned open is its other end
        poll = __import__("select").poll()
        poll.register(writer, 0)
        print([event & 8 for _, event in poll.poll(5000)])  # closed: POLLERR
    """
    assert run_script(code, str(tmp_path / "fifo")).stdout == "[8]\n"


def test_opening_leaves_stocks_flags_and_mode(beside_another: None, tmp_path: Path) -> None:
    path = tmp_path / "file"
    old = os.umask(0o027)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    for flags in (os.O_RDONLY, os.O_RDWR | os.O_APPEND, os.O_WRONLY | os.O_TRUNC, os.O_NONBLOCK):
        fd = os.open(path, flags)
        found = fcntl.fcntl(fd, fcntl.F_GETFL)
        known = os.O_NONBLOCK | os.O_APPEND | os.O_ACCMODE
        assert found & known == flags & known
        assert not os.get_inheritable(fd)
        os.close(fd)
    for mode in ("r", "w", "a", "r+", "ab", "rb"):
        with open(path, mode) as file:
            assert file.name == str(path)
            assert not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_NONBLOCK
            assert not os.get_inheritable(file.fileno())
    with pytest.raises(FileExistsError) as caught:
        io.open(path, "x")  # noqa: SIM115, UP020
    assert caught.value.filename == str(path)
    with pytest.raises(FileExistsError):
        os.open(path, os.O_CREAT | os.O_EXCL)
    with pytest.raises(IsADirectoryError):
        io.open(tmp_path)  # noqa: SIM115, UP020
    with pytest.raises(ValueError, match="Cannot use closefd=False with file name"):
        io.open(path, closefd=False)  # noqa: SIM115, UP020
    with io.FileIO(path) as raw:  # type: ignore[arg-type]
        assert raw.name is path


@needs_openat2
@pytest.mark.parametrize("mode", ["r", "w", "a", "r+", "w+"])
def test_a_file_that_is_there_is_opened_at_once(
    ticker: Any, tmp_path: Path, request: pytest.FixtureRequest, mode: str
) -> None:
    """No worker is asked, whatever it is opened for; what is in it is emptied as in stock."""
    path = tmp_path / "file"
    with ticker():
        path.write_bytes(b"old")
        if not applied().runtime.disk.backend.asks_cache:
            pytest.skip("this scheme asks for every open")
        requests = request.getfixturevalue("requests")
        with open(path, mode + "b") as file:
            assert file.tell() == (3 if mode == "a" else 0)
        assert path.stat().st_size == (0 if "w" in mode else 3)
        assert [each.operation.value for each in requests] in ([], ["truncate"] * ("w" in mode))


def test_what_may_not_be_emptied_is_refused_as_in_stock(
    beside_another: None, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    for flags in (os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_WRONLY, os.O_DIRECTORY | os.O_TRUNC):
        with pytest.raises(OSError, match="file"):
            os.open(path, flags)
    assert path.read_bytes() == b"old"


def test_an_open_is_audited_once(run_script: Any, tmp_path: Path) -> None:
    """In a process of its own: a hook stays, and what runs in it can be interrupted anywhere."""
    path = tmp_path / "file"
    path.touch()
    run_script(
        """
        import os, sys, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        path = sys.argv[1]
        over = threading.Event()
        another = threading.Thread(target=over.wait)
        another.start()
        events = []
        def hook(event, args):
            if event == "open" and args[0] == path:
                events.append(args)
        sys.addaudithook(hook)
        os.close(os.open(path, os.O_RDWR))
        open(path).close()
        (_, mode, flags), (_, named, _) = events
        assert (mode, flags, named) == (None, os.O_RDWR | os.O_CLOEXEC, "r"), events
        os.write(os.open(path, os.O_WRONLY), b"kept")
        def refuse(event, args):
            if event == "open" and args[0] == path and args[2] & os.O_TRUNC:
                raise PermissionError("no")
        sys.addaudithook(refuse)
        for way in (lambda: os.open(path, os.O_WRONLY | os.O_TRUNC), lambda: open(path, "w")):
            try:
                way()
            except PermissionError:
                continue
            raise AssertionError("it was opened")
        assert open(path).read() == "kept"
        over.set()
        another.join()
        """,
        str(path),
    )
