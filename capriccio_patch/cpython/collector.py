"""The garbage collector, while much is made that is kept.

1. `NoCollections` leaves the collector enabled or disabled as it was, and what the program has
   frozen stays so.

This is imported before the path is put in order, so it imports nothing that a path leads to.
"""

from __future__ import annotations

try:
    import gc
except AttributeError:  # an interpreter that can't import it, which `names` is about to refuse
    gc = None  # type: ignore[assignment]

__all__ = ["NoCollections"]


class NoCollections:
    """Within it nothing is collected, by itself: to look through all that was made in a start, once
    and again while it grows, takes a tenth of the time.  Main OS thread.

    What was made goes to the oldest generation, where it would get to in the end.
    """

    __slots__ = ("_was_enabled",)

    def __enter__(self) -> None:
        self._was_enabled = gc is not None and gc.isenabled()
        if self._was_enabled:
            gc.disable()

    def __exit__(self, *_: object) -> None:
        if self._was_enabled:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()
