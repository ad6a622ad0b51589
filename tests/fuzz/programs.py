"""A program: what a seed composes, less what was left out, as text that stands alone."""

from __future__ import annotations

import random
import re
import textwrap
from collections import Counter

from embedding import embed
from network import Composer, Event
from parts.registry import ENDINGS

_GLOBAL = re.compile(r"\b(?:channel|guard|pool)_\d+\b")
_MESSAGE = re.compile(r"(channel_\d+)\.(send|receive)\(")


class Program:
    """The program of a seed; the same seed gives the same one on every version of Python.

    `dropped` has the numbers of items that are left out, with all that needs them.
    """

    def __init__(self, seed: int, dropped: frozenset[int] = frozenset()) -> None:
        self.seed = seed
        rng = random.Random(f"program {seed}")
        self._network = Composer(rng).compose()
        ending = rng.choices(list(ENDINGS.values()), [each.weight for each in ENDINGS.values()])[0]
        arguments = {name: rng.choice(values) for name, values in ending.choices.items()}
        self._end_item = len(self._network.items)
        self._ending = f"{ending.name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())})"
        self.dropped = self._with_all_that_needs(dropped)

    def _with_all_that_needs(self, dropped: frozenset[int]) -> frozenset[int]:
        """An item needs all actors that take part in it, an actor the one that starts it."""
        gone = set(dropped)
        while True:
            absent = {i.spawns for i in self._network.items if i.number in gone}
            more = {
                item.number
                for item in self._network.items
                if item.number not in gone and item.actors & absent
            }
            if not more:
                return frozenset(gone)
            gone |= more

    @property
    def items(self) -> list[int]:
        """What can still be left out."""
        return [n for n in range(self._end_item + 1) if n not in self.dropped]

    def without(self, items: set[int]) -> Program:
        """The program less some more items."""
        return Program(self.seed, self.dropped | items)

    def title(self, item: int) -> str:
        """An item in a few words."""
        if item == self._end_item:
            return self._ending
        return self._network.items[item].title

    @property
    def events(self) -> list[Event]:
        """The trace."""
        return [each for each in self._network.events if each.item not in self.dropped]

    def text(self) -> str:
        """The source."""
        events = self.events
        bodies = self._bodies(events)
        names = sorted({name for e in events for name in _GLOBAL.findall(e.text)}, key=_natural)
        lines = [f"{name} = {self._network.globals[name]}" for name in names]
        functions = [
            f"def actor_{n}():\n{textwrap.indent(body, '    ')}" for n, body in bodies.items()
        ]
        ending = "returns()" if self._end_item in self.dropped else self._ending
        main = f"watch_for_hang()\nguarded('actor 0', actor_0)\nprint_notes()\n{ending}"
        imports, definitions = embed([*functions, *lines, main])
        head = f"# seed {self.seed}"
        if self.dropped:
            head += f" without {','.join(map(str, sorted(self.dropped)))}"
        return "\n\n".join(
            [
                f"{head}\n" + "\n".join(imports),
                *definitions,
                "\n".join(lines),
                *functions,
                f"if __name__ == '__main__':\n{textwrap.indent(main, '    ')}\n",
            ]
        )

    def _bodies(self, events: list[Event]) -> dict[int, str]:
        """Each actor's lines."""
        counts: Counter[tuple[str, str]] = Counter()
        bodies: dict[int, list[str]] = {0: []}
        for event in events:
            text = event.text
            if match := _MESSAGE.search(text):
                key = match[1], match[2]
                text = text.replace("{n}", str(counts[key]))
                counts[key] += 1
            bodies.setdefault(event.actor, []).append(text)
            for number in re.findall(r"\bactor_(\d+)", text):
                bodies.setdefault(int(number), [])
        used = {name for each in events for name in _GLOBAL.findall(each.text)}
        for name, domain in self._network.guards:
            if name in used:
                bodies[domain].append(f"note({name!r}, ({name}.entered, {name}.violations))")
        return {n: "\n".join(lines) or "pass" for n, lines in sorted(bodies.items())}


def _natural(name: str) -> tuple[str, int]:
    kind, _, number = name.partition("_")
    return kind, int(number)
