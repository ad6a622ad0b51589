"""The order of fork hooks.

What C resets in a child it resets before all hooks, and so must we: a hook of the program's may
write, wait, or ask whether it is in the main thread (asyncio's does).  The interpreter keeps its
hooks in a list; where it does not, they come in the order of registration.  To find that list all
objects are looked at, so it is done when this is imported, before most of them are made.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

__all__ = ["register_first"]


def register_first(
    before: Callable[[], None],
    after_in_parent: Callable[[], None],
    after_in_child: Callable[[], None],
) -> None:
    """As ``os.register_at_fork``, but the child calls its hook before all that others register.

    Nothing where there is no fork.  A hook is never taken back.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after_in_parent)
        _first_in_child.append(after_in_child)


_first_in_child: list[Callable[[], None]] = []


def _in_child() -> None:
    for call in _first_in_child:
        call()


def _come_first() -> None:
    """Have the child call `_in_child` before the hooks that there are."""
    os.register_at_fork(after_in_child=_in_child)
    for each in gc.get_referrers(_in_child):
        if type(each) is list and each and each[-1] is _in_child:
            each.insert(0, each.pop())


if hasattr(os, "register_at_fork"):
    _come_first()
