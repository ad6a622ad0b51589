"""``faulthandler``: dumps that are asked for show green threads where they wait.

The C module walks the stacks of OS threads, so it would show the green thread that runs and no
other.  `dump_traceback` is therefore written here, and `dump_traceback_later` has an OS thread of
its own that does the same when the time is over.

1. The text is CPython's (``Python/traceback.c``), with its limits on threads, frames and lengths.
2. The C module's own timer is armed as well, for a little later: where C code keeps the GIL, so
   that no Python can run, it still dumps what it sees.
3. What C dumps in a signal handler (`enable`, `register`) is left alone, as no Python runs there.
   But what is registered for all threads is followed by a dump of the green ones, which the main
   thread writes as if it were a handler of the program's: C calls that when it is through (its
   chain), and nobody sees it (`signals.handlers.Overlay`).  While C code blocks it has to wait.
4. A registration that the default action is to follow, which ends the process, is C's alone, and so
   is one above a handler that is not Python's.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # no stub
import _thread
import operator
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

from ...cpython import originals
from ...cpython.frames import is_ours
from ...cpython.interpose import clone
from ...cpython.threads import system_name
from ...io import os_threads
from ...signals.handlers import Overlay, Signals
from ..base import Patch, Runtime
from .introspection import current_frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_MOST_THREADS = 100
_MOST_FRAMES = 100
_LONGEST = 500
"""Characters of the name of a file or function."""
_GREEN = "\nGreen threads, where they are:\n\n"
_GRACE = 0.5
"""Seconds by which the C module's timer goes off after ours."""


class _Timer:
    """A dump that is to come, unless `wakeup` is released first."""

    __slots__ = ("over", "wakeup")

    def __init__(self) -> None:
        self.wakeup = originals.allocate_lock()
        originals.lock_acquire(self.wakeup)
        self.over = False

    def cancel(self) -> None:
        if not self.over:
            self.over = True
            originals.lock_release(self.wakeup)


class _Registered:
    """Signals at which C dumps all threads, and the green ones are dumped behind that."""

    def __init__(self, signals: Signals, dump: Callable[[int], None]) -> None:
        import faulthandler

        self._signals = signals
        self._dump = dump
        self._register = clone(faulthandler.register)
        self._unregister = clone(faulthandler.unregister)
        self._known: dict[int, tuple[Overlay, Any, Any]] = {}
        """By number: what was put above the handler, and the file and chain that were asked for."""
        signals.on_release = self._release

    def register(
        self, signum: Any, file: Any = None, all_threads: Any = True, chain: Any = False
    ) -> None:
        """What `faulthandler.register` does.  Any OS thread."""
        self._register(signum, file, all_threads, chain)  # raises
        signum = operator.index(signum)
        if signum in self._known:
            self._forget(signum)
            self._register(signum, file, all_threads, chain)
        if all_threads and self._signals.is_in_force:
            below = self._signals.shown(signum)
            fd = _descriptor(file)
            is_for_c = below is None or (chain and below == _signal.SIG_DFL)
            if fd is not None and not is_for_c:
                self._put_above(signum, file, fd, below, chain)

    def _put_above(self, signum: int, file: Any, fd: int, below: Any, chain: Any) -> None:
        overlay = Overlay(partial(self._dump, fd), below, not chain)
        self._unregister(signum)
        try:
            self._signals.install(signum, overlay)
        except ValueError:  # not the main OS thread
            self._register(signum, file, True, chain)
            return
        self._register(signum, file, True, True)
        self._known[signum] = overlay, file, chain

    def unregister(self, signum: Any, /) -> bool:
        """What `faulthandler.unregister` does.  Any OS thread."""
        try:
            is_known = operator.index(signum) in self._known
        except TypeError:
            is_known = False
        return self._forget(operator.index(signum)) if is_known else bool(self._unregister(signum))

    def _forget(self, signum: int) -> bool:
        overlay, _, _ = self._known.pop(signum)
        was_there = bool(self._unregister(signum))
        set_since = self._signals.handlers.get(signum) is not overlay
        handler = self._signals.shown(signum) if set_since else overlay.below
        if handler is not None:
            self._signals.install(signum, handler)
        return was_there

    def _release(self) -> None:
        """Leave the registrations to C, as they were asked for."""
        for signum, (_, file, chain) in self._known.items():
            if self._unregister(signum):
                originals.set_signal(signum, originals.get_signal(signum))
                self._register(signum, file, True, chain)


def patches(runtime: Runtime, signals: Signals) -> list[Patch]:
    """The rows of this module."""
    import faulthandler

    kernel = runtime.kernel
    frames_of_all = current_frames(runtime)
    original_dump = clone(faulthandler.dump_traceback)
    original_later = clone(faulthandler.dump_traceback_later)
    original_cancel = clone(faulthandler.cancel_dump_traceback_later)
    timer: _Timer | None = None

    def dump_all(current: int | None, only_green: bool = False) -> Iterator[str]:
        frames = frames_of_all()
        green = [ident for ident in reversed(list(kernel.threads)) if ident in frames]
        others = [ident for ident in frames if not only_green and ident not in kernel.threads]
        for number, ident in enumerate([*others, *green]):  # the latest first, as stock has it
            if number:
                yield "\n"
            if number == _MOST_THREADS:
                yield "...\n"
                return
            kind = "Current thread" if ident == current else "Thread"
            name = _name(ident, kernel.main.ident)
            yield f"{kind} 0x{ident:016x}{name} (most recent call first):\n"
            yield from _stack(frames[ident])

    def dump_traceback(file: Any = None, all_threads: Any = True) -> None:
        fd = _descriptor(file)
        if fd is None:
            original_dump(file, all_threads)  # raises
            return
        if not isinstance(all_threads, int):
            try:
                original_dump(-1, all_threads)  # may refuse it: that depends on the version
            except ValueError:
                pass  # it is the descriptor that it does not like
        if all_threads:
            here = kernel.here()
            _write(fd, dump_all(here.current.ident if here is not None else _own_ident()))
        else:
            text = ["Stack (most recent call first):\n", *_stack(sys._getframe())]
            _write(fd, text)

    def dump_traceback_later(
        timeout: Any,
        repeat: Any = False,
        file: Any = None,
        exit: Any = False,  # noqa: A002
    ) -> None:
        nonlocal timer
        fd = _descriptor(file)
        if fd is None or not isinstance(timeout, (int, float)) or not timeout > 0:
            original_later(timeout, repeat, file, exit)  # raises
            return
        original_later(timeout + _GRACE, repeat, file, exit)
        if timer is not None:
            timer.cancel()
        timer = mine = _Timer()

        def watch() -> None:
            while not originals.lock_acquire(mine.wakeup, True, timeout) and not mine.over:
                # First: without the GIL it waits for C code that runs, of which C's timer tells.
                text = [_header(timeout), *dump_all(None)]
                original_cancel()
                _write(fd, text)
                if exit:
                    originals.process_exit(1)
                if not repeat:
                    return
                original_later(timeout + _GRACE, repeat, file, exit)

        os_threads.start(watch, ())

    def cancel_dump_traceback_later() -> None:
        cancel()
        original_cancel()

    def cancel() -> None:
        if timer is not None:
            timer.cancel()

    def dump_green(fd: int) -> None:
        _write(fd, [_GREEN, *dump_all(None, only_green=True)])

    registered = _Registered(signals, dump_green)
    rows = [
        Patch("faulthandler", "faulthandler", "dump_traceback", dump_traceback),
        Patch(
            "faulthandler",
            "faulthandler",
            "dump_traceback_later",
            dump_traceback_later,
            lambda: cancel,
        ),
        Patch(
            "faulthandler",
            "faulthandler",
            "cancel_dump_traceback_later",
            cancel_dump_traceback_later,
        ),
    ]
    if hasattr(faulthandler, "register"):
        rows += [
            Patch("faulthandler", "faulthandler", "register", registered.register),
            Patch("faulthandler", "faulthandler", "unregister", registered.unregister),
        ]
    return rows


def _own_ident() -> int:
    ident: int = originals.get_ident()
    return ident


def _descriptor(file: Any) -> int | None:
    """Where to write; None for what the original refuses."""
    if file is None:
        file = getattr(sys, "stderr", None)
        if file is None:
            return None
    fd = file if isinstance(file, int) else file.fileno()
    if not isinstance(fd, int) or not 0 <= fd < 1 << 31:
        return None
    if fd is not file:
        try:
            file.flush()
        except Exception:
            pass  # as stock: what can be told is told
    return fd


def _write(fd: int, parts: list[str] | Iterator[str]) -> None:
    data = "".join(parts).encode("utf-8", "replace")
    while data:
        try:
            data = data[originals.write(fd, data) :]
        except OSError:
            return  # as stock: nobody is left to be told


def _name(ident: int, main: int) -> str:
    """As C writes it from CPython 3.14 on, which has the names of OS threads: the main one's is the
    process's."""
    if not hasattr(_thread, "set_name"):
        return ""
    if ident != main:
        name = system_name(ident)
        return f" [{name}]" if name else ""
    try:
        fd = originals.os_open("/proc/self/comm", 0)
    except OSError:
        return ""
    try:
        return f" [{originals.read(fd, 64).decode('utf-8', 'replace').removesuffix(chr(10))}]"
    finally:
        originals.close(fd)


def _header(timeout: float) -> str:
    minutes, microseconds = divmod(-int(-timeout * 1_000_000 // 1), 60_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds, microseconds = divmod(microseconds, 1_000_000)
    fraction = f".{microseconds:06}" if microseconds else ""
    return f"Timeout ({hours}:{minutes:02}:{seconds:02}{fraction})!\n"


def _stack(frame: FrameType | None) -> Iterator[str]:
    """The program's frames, the innermost first."""
    number = 0
    while frame is not None:
        if number == _MOST_FRAMES:
            yield "  ...\n"
            return
        if not is_ours(frame):
            code = frame.f_code
            line = "???" if frame.f_lineno is None else frame.f_lineno
            yield f'  File "{_ascii(code.co_filename)}", line {line} in {_ascii(code.co_name)}\n'
            number += 1
        frame = frame.f_back


def _ascii(name: str) -> str:
    printable = name.isascii() and name.isprintable()
    text = name[:_LONGEST] if printable else "".join(map(_escaped, name[:_LONGEST]))
    return text if len(name) <= _LONGEST else f"{text}..."


def _escaped(character: str) -> str:
    number = ord(character)
    if 32 <= number < 127:
        return character
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
