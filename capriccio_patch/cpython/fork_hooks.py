"""The order of fork hooks.

What C resets in a child it resets before all hooks, and so must we: a hook of the program's may
write, wait, or ask whether it is in the main thread (asyncio's does).  The interpreter keeps its
hooks in a list; where it does not, they come in the order of registration.
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
    """As ``os.register_at_fork``, but the child calls its hook before those that are there.

    Nothing where there is no fork.  A hook is never taken back.
    """
    if not hasattr(os, "register_at_fork"):
        return
    os.register_at_fork(
        before=before, after_in_parent=after_in_parent, after_in_child=after_in_child
    )
    for each in gc.get_referrers(after_in_child):
        if type(each) is list and each and each[-1] is after_in_child:
            each.insert(0, each.pop())
