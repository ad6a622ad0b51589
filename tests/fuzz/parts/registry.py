"""The list of parts: which there are, with which arguments, and where they may be called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A function that a program may call anywhere that the flags allow.

    `choices` has the values that each argument may take, `family` is the module.  With `main` it is
    called in the main thread of the first process alone; without `child` never in a forked one;
    with `eof` not beside long-lived forks; with `alarms`, which a finalizer would swallow, not
    beside those.  `weight` is how often it is drawn, beside others.
    """

    name: str
    family: str
    choices: dict[str, Sequence[Any]]
    main: bool
    child: bool
    eof: bool
    alarms: bool
    weight: int


PARTS: dict[str, Part] = {}
ENDINGS: dict[str, Part] = {}


def part(
    *,
    main: bool = False,
    child: bool = True,
    eof: bool = False,
    alarms: bool = False,
    weight: int = 2,
    ending: bool = False,
    **choices: Sequence[Any],
) -> Callable[[Any], Any]:
    """Decorator: the function is a part (or an `ending`), with values to choose arguments from."""

    def register(function: Any) -> Any:
        table = ENDINGS if ending else PARTS
        name = function.__name__
        family = function.__module__.rpartition(".")[2]
        table[name] = Part(name, family, choices, main, child, eof, alarms, weight)
        return function

    return register
