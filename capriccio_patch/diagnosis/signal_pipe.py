"""Signals that are answered by an OS thread: what C writes into a pipe, and who takes it out.

Facts.  A handler in Python runs when the main OS thread gets back to Python: not while C blocks.  A
handler in C can't walk the stacks of green threads.

Decision.  `faulthandler` has a handler in C that writes a stack to a descriptor: here that is a
pipe, whose other end an OS thread reads; what it reads says only that the signal has come.

1. The signal module is told nothing: `signal.getsignal` shows what the program has set.
2. The program's own handler takes the place of this one, and stays when this one goes.

Scheduler's OS thread, but for what says otherwise.
"""

from __future__ import annotations

from ..cpython import originals
from ..cpython.modules import standard
from ..io.reserved import Own, above_standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Pipe", "SignalPipe"]

_DEFAULT = 0


class Pipe:
    """A pipe of the runtime's own, whose ends don't wait."""

    __slots__ = ("reader", "writer")

    def __init__(self) -> None:
        reader, writer = originals.pipe()
        originals.set_blocking(reader, False)
        originals.set_blocking(writer, False)
        self.reader, self.writer = Own(above_standard(reader)), Own(above_standard(writer))

    def drain(self) -> None:
        """Take out what is in it.  Any OS thread."""
        try:
            while originals.read(self.reader.fd, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close both ends."""
        for own in (self.reader, self.writer):
            originals.close(own.release())


class SignalPipe(Pipe):
    """A pipe that becomes readable when a signal comes."""

    __slots__ = ("signum",)

    def __init__(self, signum: int) -> None:
        """OSError if there is no descriptor; ValueError if the signal can't be had."""
        super().__init__()
        self.signum = signum
        try:
            register = standard("faulthandler").register
            register(signum, file=self.writer.fd, all_threads=False, chain=False)
        except (OSError, RuntimeError, ValueError) as error:
            super().close()
            raise ValueError(f"signal {signum}: {error}") from error

    def give_back(self) -> None:
        """Have the signal do what it did before.  Any OS thread."""
        handler = originals.get_signal(self.signum)
        standard("faulthandler").unregister(self.signum)
        if handler not in (_DEFAULT, None):
            _restore(self.signum, handler)

    def close(self) -> None:
        """Give the signal back, and close the pipe."""
        self.give_back()
        super().close()


def _restore(signum: int, handler: Any) -> None:
    """Set what the program has set meanwhile, which `faulthandler` has replaced."""
    try:
        originals.set_signal(signum, handler)
    except ValueError:
        pass  # not the main OS thread: the interpreter has none that could
