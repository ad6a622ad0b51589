"""Composes the network of a program: actors, what they send one another, and what else they do.

A network is written as the trace of one valid run: every receive comes after its send, every join
after the joined actor's last event.  Each channel has one sender and one receiver and all else that
is waited for comes about once, so all other interleavings of a trace end too, with the same values
(Kahn networks).  Leaving out an item with all its events leaves a valid trace: that is how programs
shrink.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from parts import channels, forks, locks
from parts.registry import PARTS, Part

_THREADS = ["thread"] * 4 + ["daemon"] * 2 + ["timer", "raw", "pool", "pool"]
_CAPACITY = {"Queue(1)": 1, "Queue(2)": 2, "LockChannel": 1, "SignalChannel": 1, "datagram": 8}


@dataclass(frozen=True)
class Event:
    """A line of an actor, that belongs to an item; ``{n}`` stands for a message's number."""

    item: int
    actor: int
    text: str


@dataclass
class Item:
    """What can be left out of a program by itself: `actors` are those that take part in it."""

    number: int
    title: str
    actors: set[int]
    spawns: int | None = None


@dataclass
class Actor:
    """A thread, or the first thread of a process: `domain` is the number of that."""

    number: int
    kind: str
    parent: int
    domain: int
    item: int


@dataclass
class _Channel:
    name: str
    kind: str
    family: str
    sender: int
    receiver: int
    waiting: list[int] = field(default_factory=list)
    sent: int = 0

    @property
    def room(self) -> int:
        limit = _CAPACITY.get(self.kind, _CAPACITY.get(self.family, 20))
        return min(limit - len(self.waiting), channels.ROOM - self.sent)


@dataclass
class Network:
    """A trace, with the items that its events belong to and the globals that it uses."""

    items: list[Item]
    events: list[Event]
    globals: dict[str, str]
    actors: list[Actor]
    guards: list[tuple[str, int]]


class Composer:
    """Composes one network by random numbers."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._items: list[Item] = []
        self._events: list[Event] = []
        self._globals: dict[str, str] = {}
        self._actors = [Actor(0, "main", 0, 0, -1)]
        self._live = [0]
        self._channels: list[_Channel] = []
        self._guards: list[tuple[str, int]] = []
        self._families: set[str] = set()
        self._forks = rng.random() < 0.3
        self._parts_left = rng.choice([0, 1, 1, 2, 2, 3, 4])
        self._actors_left = rng.choice([0, 1, 2, 3, 4, 6, 8])

    def compose(self) -> Network:
        """The whole network."""
        steps = {
            self._spawn: 4,
            self._send: 12,
            self._receive: 12,
            self._guarded: 6,
            self._alone: 6,
            self._call_part: 5,
            self._end: 1,
        }
        calls, weights = list(steps), list(steps.values())
        number = self._rng.choice([5, 15, 30, 60])
        late = self._rng.randrange(number)
        for step in range(number):
            if step == late:
                self._event(self._item("patch_late", 0), 0, "patch_late()")
            self._rng.choices(calls, weights)[0]()
        while self._parts_left:
            self._call_part()
        while len(self._live) > 1:
            self._end()
        for channel in self._channels:
            self._drain(channel)
        return Network(self._items, self._events, self._globals, self._actors, self._guards)

    def _item(self, title: str, *actors: int) -> Item:
        item = Item(len(self._items), title, set(actors))
        self._items.append(item)
        return item

    def _event(self, item: Item, actor: int, text: str) -> None:
        item.actors.add(actor)
        self._events.append(Event(item.number, actor, text))

    def _any(self) -> int:
        return self._rng.choice(self._live)

    def _spawn(self) -> None:
        if not self._actors_left:
            return
        self._actors_left -= 1
        parent, number = self._any(), len(self._actors)
        kind = self._rng.choice(_THREADS)
        if self._forks and self._rng.random() < 0.4:
            kind = self._rng.choice(["fork", "process"])
        domain = self._actors[parent].domain
        item = self._item(f"actor {number}", parent)
        item.spawns = number
        arguments = f"'actor {number}', actor_{number}"
        if kind in ("thread", "daemon", "timer"):
            text = f"ThreadActor({arguments}, {kind!r})"
        elif kind == "raw":
            text = f"RawActor({arguments})"
        elif kind == "pool":
            self._globals[f"pool_{domain}"] = "make_pool()"
            text = f"PoolActor({arguments}, pool_{domain})"
        else:
            text = f"{'Fork' if kind == 'fork' else 'Process'}Actor({arguments})"
            domain = number
        self._event(item, parent, f"actors[{number}] = {text}")
        self._actors.append(Actor(number, kind, parent, domain, item.number))
        self._live.append(number)

    def _end(self) -> None:
        """An actor has nothing more to do; another of its parent's process joins it."""
        ended = [n for n in self._live if n and not self._keeps(n)]
        if not ended:
            return
        number = self._rng.choice(ended)
        for channel in self._channels:
            if channel.receiver == number:
                self._drain(channel)
        actor = self._actors[number]
        self._live.remove(number)
        domain = self._actors[actor.parent].domain
        joiners = [n for n in self._live if self._actors[n].domain == domain]
        self._event(self._items[actor.item], self._rng.choice(joiners), f"join_actor({number})")

    def _keeps(self, number: int) -> bool:
        """Whether others still need an actor, since their process would end with it."""
        if self._actors[number].domain != number:
            return False
        return any(
            n != number and number in (self._actors[n].domain, self._home(n)) for n in self._live
        )

    def _home(self, number: int) -> int:
        """The process that an actor's own process was forked by."""
        return self._actors[self._actors[self._actors[number].domain].parent].domain

    def _send(self) -> None:
        channel = self._channel()
        if channel is None or channel.room <= 0:
            return
        item = self._item(f"message by {channel.family} {channel.kind}", channel.receiver)
        self._event(item, channel.sender, f"{channel.name}.send({{n}})")
        channel.waiting.append(item.number)
        channel.sent += 1
        if channel.family == "BarrierChannel":
            self._drain(channel)

    def _receive(self) -> None:
        waiting = [each for each in self._channels if each.waiting]
        if waiting:
            self._take(self._rng.choice(waiting))

    def _take(self, channel: _Channel) -> None:
        name = channel.name
        item = self._items[channel.waiting.pop(0)]
        self._event(item, channel.receiver, f"check({name!r}, {name}.receive(), {{n}})")

    def _drain(self, channel: _Channel) -> None:
        while channel.waiting:
            self._take(channel)

    def _channel(self) -> _Channel | None:
        """One between live actors: an old one, or a new one."""
        rng = self._rng
        old = [e for e in self._channels if {e.sender, e.receiver} <= set(self._live)]
        if len(self._live) < 2 or (old and rng.random() < 0.6):
            return rng.choice(old) if old else None
        sender, receiver = rng.sample(self._live, 2)
        domains = {self._actors[n].domain for n in (sender, receiver)}
        families = dict(channels.OS_KINDS)
        if len(domains) == 1:
            families |= channels.KINDS
        if domains == {0} and len(self._channels) < 20:
            families["SignalChannel"] = ["kill", "pthread_kill"]
        family = rng.choice(list(families))
        kind = rng.choice(families[family])
        name = f"channel_{len(self._channels)}"
        way = len(self._channels) if family == "SignalChannel" else rng.randrange(12)
        self._globals[name] = f"{family}({kind!r}, {way})"
        self._channels.append(_Channel(name, kind, family, sender, receiver))
        return self._channels[-1]

    def _guarded(self) -> None:
        """Sections under one guard, or two in order, by one actor or several."""
        rng = self._rng
        actor = self._any()
        domain = self._actors[actor].domain
        mine = [name for name, d in self._guards if d == domain]
        if len(mine) < 2 or rng.random() < 0.2:
            mine.append(f"guard_{len(self._guards)}")
            self._globals[mine[-1]] = f"Guard({rng.choice(locks.LOCKS)!r})"
            self._guards.append((mine[-1], domain))
        names = [name for name in mine if rng.random() < 0.5][:3] or mine[-1:]
        body = rng.choice(["time.sleep(0)", "time.sleep(0.0005)", "busy(3000)", "breathe(7)"])
        rounds = rng.choice([1, 3, 10])
        item = self._item("section")
        text = f"for _ in range({rounds}):\n    with {', '.join(names)}:\n        {body}"
        others = [n for n in self._live if self._actors[n].domain == domain and n != actor]
        for each in [actor, *(n for n in others if rng.random() < 0.3)]:
            self._event(item, each, text)

    def _alone(self) -> None:
        """Something between two events."""
        rng = self._rng
        actor = self._any()
        texts = [
            "time.sleep(0.0005)",
            "time.sleep(0)",
            "busy(5000)",
            "gc.collect()",
            "check('timeout', queue.SimpleQueue().empty(), True)",
            "check('select', select.select([], [], [], 0.0005), ([], [], []))",
            "check('event', threading.Event().wait(0.0005), False)",
            "check('command', os.system('exit 3') >> 8, 3)",
            "leave('at once', 'put', queue.SimpleQueue(), [])",
        ]
        text = rng.choice(texts)
        self._event(self._item(text.partition("(")[0]), actor, text)

    def _call_part(self) -> None:
        if not self._parts_left:
            return
        self._parts_left -= 1
        rng = self._rng
        actor = self._any()
        candidates = list(self._allowed(actor))
        part = rng.choices(candidates, [each.weight for each in candidates])[0]
        self._families.add("alarms" if part.alarms else part.family)
        item = self._item(part.name)
        arguments = ", ".join(
            f"{name}={rng.choice(values)!r}" for name, values in part.choices.items()
        )
        wrapper = ""
        if not part.main and rng.random() < 0.4:
            wrappers = forks.WRAPPERS + (forks.CHILD_WRAPPERS if part.child else [])
            wrapper = f"{rng.choice(wrappers)}, call="
        title = f"{item.number} {part.name}"
        self._event(item, actor, f"run({title!r}, {wrapper}{part.name}, {arguments})")

    def _allowed(self, actor: int) -> Iterator[Part]:
        """The parts that may be called here, beside those that there are already."""
        main, domain = actor == 0, self._actors[actor].domain
        for part in PARTS.values():
            if (
                (main or not part.main)
                and (domain == 0 or part.child)
                and not (self._forks and part.eof)
                and not (part.alarms and "finalizers" in self._families)
                and not (part.family == "finalizers" and "alarms" in self._families)
            ):
                yield part
