"""Calls that the main kernel makes for threads of another: of what is the main OS thread's alone.

The call is made by a thread of its own there, which the program does not see, and may wait.  Its
caller waits at home; if it is interrupted the call is ended, and gives back what it has taken.
"""

from __future__ import annotations

from ..contracts.request import Call
from . import off_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..kernel.core import Kernel

__all__ = ["OnMain"]


class _GivenUp(SystemExit):
    """Ends a call whose caller waits no longer, and its thread, which may not have begun."""


class OnMain(Call):
    """A call that the main kernel makes."""

    __slots__ = ("_given_up", "_main")

    def __init__(self, main: Any, home: Kernel, call: Callable[..., Any], *args: Any) -> None:
        """`main` is the main kernel, `home` the caller's."""
        super().__init__(home, call, *args)
        self._main = main
        self._given_up = False

    def make(self, kind: str) -> Any:
        """What it returns or raises; `kind` is what the caller waits for.  A thread of `home`."""
        thread = self._main.run_here(self.run)
        try:
            return off_thread.wait(self.kernel, self, kind)  # type: ignore[arg-type]
        except BaseException:
            self._given_up = True
            if self.done:
                self._main.call_soon(self.give_back)
            else:
                self._main.call_soon(self._end, thread)
            raise

    def complete(self) -> None:
        """As of any call; nobody may wait any longer."""
        super().complete()
        if self._given_up:
            self._main.call_soon(self.give_back)

    def give_back(self) -> None:
        """Nobody wants what the call has brought.  The main kernel's OS thread."""

    def _end(self, thread: Any) -> None:
        if thread.greenlet is not None:
            self._main.interrupt(thread, _give_up)


def _give_up() -> None:
    raise _GivenUp
