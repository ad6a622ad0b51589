"""``_asyncio``: the running loop is each green thread's own.

asyncio waits in ``selectors`` and wakes its loops through sockets, so there is nothing else to take
over.  Which loop runs is C state of the OS thread, which `kernel.thread_locals` exchanges when
there is something in the dictionary of that state.  Until CPython 3.12 the loop is kept there;
where it is not, it is noted there as well.
"""

from __future__ import annotations

import sys

from ...cpython import interpose, originals, thread_state
from ..base import Patch, Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["patches"]

_LOOP = "__asyncio_running_event_loop__"


def patches(runtime: Runtime) -> list[Patch]:
    """The rows of this module.  Imports ``_asyncio``."""
    import _asyncio

    if sys.version_info >= (3, 14):  # AttributeError here rather than at a switch
        _asyncio._swap_current_task  # type: ignore[attr-defined]  # noqa: B018
    kernel = runtime.kernel
    get_ident = originals.get_ident
    original = interpose.clone(_asyncio._set_running_loop)

    def note(loop: Any) -> None:
        if get_ident() == kernel.os_ident:
            if loop is None:
                kernel.tsd.pop(_LOOP, None)
            else:
                kernel.tsd[_LOOP] = loop

    def set_running_loop(loop: Any, /) -> None:
        original(loop)
        note(loop)

    def install() -> Any:
        note(_asyncio._get_running_loop())
        return lambda: note(None)

    if _in_dictionary(original, _asyncio._get_running_loop()):
        return []
    return [Patch("asyncio", "_asyncio", "_set_running_loop", set_running_loop, install)]


def _in_dictionary(set_running_loop: Any, running: Any) -> bool:
    """Whether C keeps the calling OS thread's loop in the dictionary of its state."""
    set_running_loop(object())
    found = _LOOP in thread_state.state_dict()
    set_running_loop(running)
    return found
