"""How long an OS thread keeps the GIL from others: one time for the process, of several watchdogs.

1. It is the shortest of what the watchdogs ask for and what the program has set, which it is again
   once no watchdog asks.
2. Who sets it looks again afterwards: of several at once the last one sees what all want.

Any OS thread.  All times in seconds.
"""

from __future__ import annotations

from ..cpython import originals

__all__ = ["ask", "current", "keep_only", "program_sets", "programs", "take_back"]

_asked: dict[int, float] = {}
"""By id of who asks."""
_programs: float | None = None
"""What the program has set, while somebody asks."""
_current: float = originals.getswitchinterval()


def current() -> float:
    """What was set last."""
    return _current


def programs() -> float:
    """What the program has set."""
    return float(originals.getswitchinterval() if _programs is None else _programs)


def program_sets(seconds: float) -> None:
    """The program sets it.  Somebody asks for less, or is about to."""
    global _programs
    _programs = seconds


def ask(who: object, seconds: float) -> None:
    """`who` wants it no longer than that."""
    global _programs
    _programs = programs()
    _asked[id(who)] = seconds
    _set(_programs)


def take_back(who: object) -> None:
    """`who` wants nothing any more."""
    global _programs
    if _asked.pop(id(who), None) is not None:
        _set(programs())
        if not _asked:
            _programs = None


def keep_only(who: object) -> None:
    """In a forked child: of those that ask there is `who` alone."""
    for other in _asked.keys() - {id(who)}:
        del _asked[other]
    if _asked:
        _set(programs())


def _set(programs: float) -> None:
    global _current
    while True:
        wanted = min([programs, *_asked.values()])
        originals.setswitchinterval(wanted)
        _current = wanted
        if wanted == min([programs, *_asked.values()]):
            return
