"""Imports that may run beside the end of the program and leave its exit status alone.

Facts.  A program that a KeyboardInterrupt ends dies by SIGINT: CPython notes that it has left the
main module, and looks at the note last of all.  Before CPython 3.14 whatever evaluates a text
meanwhile, on any OS thread, takes the note back (run_eval_code_obj, Python/pythonrun.c), and the
exit status is 1.  `collections.namedtuple` evaluates one, and so does the import of nearly every
module that a report needs.

Decision.  What the runtime imports while the program runs it imports within `texts_compiled`:
`namedtuple` then has its text compiled and evaluates the code, which leaves the note alone.

Cost.  For that time `collections` has a global of the name ``eval``.  Any OS thread.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["texts_compiled"]

_FORGETFUL = sys.version_info < (3, 14)


class _Compiled:
    """Within it `namedtuple` evaluates no text; any number of threads may be, each many times."""

    __slots__ = ("_within",)

    def __init__(self) -> None:
        self._within: list[None] = []  # appending and popping are atomic, and a fork harms neither

    def __enter__(self) -> None:
        self._within.append(None)
        _set()

    def __exit__(self, *_: object) -> None:
        self._within.pop()
        if not self._within:
            _namespace().pop("eval", None)
            if self._within:  # another thread has entered just now
                _set()


def _set() -> None:
    if _FORGETFUL:
        _namespace()["eval"] = _evaluated


def _namespace() -> dict[str, Any]:
    import collections  # the program may not have it yet, and what is imported within may need it

    return vars(collections)


def _evaluated(text: str, namespace: dict[str, Any]) -> Any:
    return eval(compile(text, "<string>", "eval", dont_inherit=True), namespace)


texts_compiled = _Compiled()
"""A context manager."""
