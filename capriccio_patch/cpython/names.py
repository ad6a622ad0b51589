"""Every private name that the package needs is asked for at once, when this is imported.

An interpreter that lacks one is refused before anything else is tried (`checks` has the rest).
"""

from __future__ import annotations

from ..errors import PatchError

try:
    from . import interpose, originals, thread_state  # noqa: F401
except (AttributeError, ImportError, KeyError) as error:
    raise PatchError(f"this Python can't be patched: names: {error!r}") from error
