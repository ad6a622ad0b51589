"""Rounds in which all that is compared has a turn: all meet the same moments of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from .children import ChildFailed

__all__ = ["collect", "take_turns"]

T = TypeVar("T")


def take_turns(
    turns: Mapping[str, Callable[[], T]],
    rounds: int,
    failed: Callable[[str, str], None] | None = None,
) -> Iterator[dict[str, T]]:
    """What each turn gives, round by round; who is first changes from round to round.

    ``failed(name, why)`` is called for a turn that raises `ChildFailed`, and it is left out from
    then on.  Without `failed` the error is raised.
    """
    left = list(turns)
    for number in range(rounds):
        first = number % len(left) if left else 0
        found: dict[str, T] = {}
        for name in left[first:] + left[:first]:
            try:
                found[name] = turns[name]()
            except ChildFailed as error:
                if failed is None:
                    raise
                failed(name, str(error))
                left.remove(name)
        yield found


def collect(rounds: Iterable[Mapping[str, T]]) -> dict[str, list[T]]:
    """By name, the values of all rounds; without those that have none in the last."""
    every = list(rounds)
    if not every:
        return {}
    return {name: [found[name] for found in every] for name in every[0] if name in every[-1]}
