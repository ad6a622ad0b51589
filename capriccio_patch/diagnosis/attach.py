"""What of this room a patch has in force, as its settings ask for it.

What a program does not need until something goes wrong is not imported before.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from ..config import Settings
from ..cpython import originals
from ..errors import ConfigError, PatchError
from ..kernel.core import Kernel
from ..preemption.watchdog import Watchdog
from .deadlock import Deadlocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .leaks import Leak
    from .service import Service

__all__ = ["answer_into", "attach", "dump", "leaked", "stop_answering"]

_kernel: Kernel | None = None
"""That of the patch in force."""
_service: Service | None = None
"""What answers for the program, if that was asked for."""


def attach(kernel: Kernel, watchdog: Watchdog, settings: Settings) -> Callable[[], None]:
    """Have a kernel's threads looked after; returns what ends that.  Before the watchdog starts.

    ConfigError if the socket for `ps` can't be opened, or the signal can't be had.
    """
    global _kernel, _service
    # The search knows the threads of one kernel.
    if settings.deadlock != "off" and len(kernel.all()) == 1:
        deadlocks = Deadlocks(kernel, settings.deadlock)
        kernel.idle = deadlocks.idle
        watchdog.look_around = deadlocks.look
    graph = settings.graph if originals.poll is not None else None
    if settings.dump is not None or settings.ps or graph is not None:
        from .service import open_service

        try:
            _service = open_service(kernel, settings.dump, settings.ps, graph)
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(f"dump, ps or graph can't be had: {error}") from error
    _kernel = kernel

    def detach() -> None:
        global _kernel
        _kernel = None
        stop_answering()

    return detach


def stop_answering() -> None:
    """Answer no more; what has been asked for by then is answered first.  Scheduler's OS thread."""
    global _service
    service, _service = _service, None
    if service is not None:
        service.stop()


def dump(file: Any = None) -> None:
    """Write what all threads do: a table, and their stacks, equal ones once.

    `file` is a text file or a descriptor's number; None: standard error.  Any OS thread, signal
    handlers.  PatchError without `patch_all`; raises what writing raises.
    """
    if _kernel is None:
        raise PatchError("dump() needs patch_all()")
    from .service import dumped

    text = dumped(_kernel)
    if isinstance(file, int):
        with open(file, "w", encoding="utf-8", errors="replace", closefd=False) as opened:
            opened.write(text)
        return
    file = sys.stderr if file is None else file
    if file is not None:
        file.write(text)
        file.flush()


def leaked() -> list[Leak]:
    """The threads that wait for an object that nobody but waiting threads can reach any more.

    Of each: its name, what it waits for, since when, where, and the function that it runs.  It
    looks at all objects, some 8 us each, while no other thread runs.

    Green threads; PatchError on other OS threads and without `patch_all`.
    """
    if _kernel is None or not _kernel.is_mine():
        raise PatchError("leaked() must be called in a green thread, while a patch is in force")
    from .leaks import leaks_of

    return leaks_of(_kernel)


def answer_into(path: str, request: str) -> None:
    """Answer a question of `ps`, which has had the interpreter call this, into a file.

    Scheduler's OS thread, wherever that is: nothing here waits but for the disk.
    """
    from .requests import ANSWERED, answer_here

    text = "error: the program is not patched now\n"
    if _kernel is not None:
        try:
            text = answer_here(_kernel, request)
        except Exception as error:
            text = f"error: {error!r}\n"
    data = (text + ANSWERED).encode("utf-8", "replace")
    fd = originals.os_open(path, os.O_WRONLY)
    try:
        while data:
            data = data[originals.write(fd, data) :]
    finally:
        originals.close(fd)
