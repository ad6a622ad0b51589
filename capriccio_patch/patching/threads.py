"""What a program may do to one of its threads by name: rank it, and end what it waits for.

A thread is a `threading.Thread` that has been started, or its identifier.  An OS thread is nobody's
here: the system schedules it, and nothing ends its waits.
"""

from __future__ import annotations

from ..contracts.scheduler import Abilities
from ..contracts.thread import Thread
from ..kernel.core import Kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["interrupt", "set_priority"]


def set_priority(kernel: Kernel | None, value: int, thread: Any) -> None:
    """`api.set_priority`, which says what it does."""
    if not isinstance(value, int) or not -100 <= value <= 100:
        raise ValueError("a priority is a whole number from -100 to 100")
    ident: Any = None if thread is None else _ident(thread, "set the priority of")
    if kernel is None:
        return
    if thread is None:
        ident = kernel.current.ident if kernel.is_mine() else None
    target = kernel.threads.get(ident)
    if target is None:
        return
    home = kernel.of(target)
    if Abilities(home.scheduler).set_priority is None:
        return
    if home.is_mine():
        _rank(home, target, value)
    else:
        home.call_soon(_rank, home, target, value)


def _rank(kernel: Kernel, target: Thread, value: int) -> None:
    home = kernel.of(target)
    if home is not kernel:  # it has begun elsewhere meanwhile
        home.call_soon(_rank, home, target, value)
    else:
        set_ = Abilities(kernel.scheduler).set_priority
        assert set_ is not None
        set_(target, value)


def interrupt(kernel: Kernel | None, thread: Any, error: BaseException | type) -> bool:
    """`api.interrupt`, which says what it does."""
    ident = _ident(thread, "interrupt")
    if not isinstance(error, BaseException) and not (
        isinstance(error, type) and issubclass(error, BaseException)
    ):
        raise TypeError("exceptions must derive from BaseException")
    if kernel is None or ident not in kernel.threads:
        return False
    home = kernel.of(kernel.threads[ident])
    if not home.is_mine():
        home.call_soon(_interrupt, home, ident, error)
    elif ident == home.current.ident:
        raise error
    else:
        _interrupt(home, ident, error)
    return True


def _interrupt(kernel: Kernel, ident: int, error: BaseException | type) -> None:
    target: Thread | None = kernel.threads.get(ident)

    def raise_it() -> None:
        raise error

    if target is None:
        return
    home = kernel.of(target)
    if home is not kernel:  # it has begun elsewhere meanwhile
        home.call_soon(_interrupt, home, ident, error)
    else:
        kernel.interrupt(target, raise_it)


def _ident(thread: Any, verb: str) -> Any:
    ident = getattr(thread, "ident", thread)
    if ident is None:
        raise RuntimeError(f"cannot {verb} a thread before it is started")
    return ident
