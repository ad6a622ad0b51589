"""What a scheduler may have besides its contract is asked for in one place."""

from __future__ import annotations

from collections import deque
from typing import Any

from capriccio_patch.contracts.scheduler import Abilities
from capriccio_patch.contracts.thread import Thread
from capriccio_patch.schedulers.checked import CheckedScheduler
from capriccio_patch.schedulers.fifo import FifoScheduler
from capriccio_patch.schedulers.recording import Observed


class Plain:
    """The contract and no more."""

    def __init__(self) -> None:
        self._threads: deque[Thread] = deque()

    def push(self, thread: Thread) -> None:
        self._threads.append(thread)

    def pop(self) -> Thread:
        return self._threads.popleft()

    def __len__(self) -> int:
        return len(self._threads)


class Able(Plain):
    """All there is."""

    seed = 7
    least_slice = 0.25
    checkpoints = frozenset({"a.b"})
    recorder = "recorder"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []

    def push_first(self, thread: Thread) -> None:
        self._threads.appendleft(thread)

    def advance(self, count: int) -> None:
        self.calls.append(count)

    def attach(self, kernel: Any) -> None:
        self.calls.append(kernel)

    def set_priority(self, thread: Thread, value: int) -> None:
        self.calls.append((thread, value))

    def checkpoint(self) -> bool:
        return True


def test_none_is_missed() -> None:
    scheduler = Plain()
    abilities = Abilities(scheduler)
    abilities.attach(None)
    thread = Thread()
    abilities.push_first(thread)
    assert scheduler.pop() is thread
    assert not abilities.has_push_first
    assert not abilities.draws_lots
    assert abilities.advance is abilities.set_priority is abilities.checkpoint is None
    assert abilities.seed is abilities.checkpoints is abilities.recorder is None
    assert abilities.least_slice == 0.0


def test_each_is_found() -> None:
    scheduler = Able()
    abilities = Abilities(scheduler)
    thread = Thread()
    scheduler.push(Thread())
    abilities.push_first(thread)
    assert scheduler.pop() is thread
    abilities.attach("kernel")
    assert abilities.advance is not None
    abilities.advance(3)
    assert abilities.set_priority is not None
    abilities.set_priority(thread, 5)
    assert scheduler.calls == ["kernel", 3, (thread, 5)]
    assert abilities.checkpoint is not None
    assert abilities.checkpoint()
    assert abilities.checkpoints == {"a.b"}
    assert abilities.least_slice == 0.25
    assert abilities.recorder == "recorder"
    assert abilities.seed == 7
    abilities.seed = 8
    assert scheduler.seed == 8


def test_those_of_a_scheduler_that_others_stand_before() -> None:
    for make in (lambda it: CheckedScheduler("name", it), Observed):
        able = Abilities(make(Able()))
        assert able.has_push_first
        assert able.draws_lots
        assert able.least_slice == 0.25
        plain = Abilities(make(Plain()))
        assert not plain.has_push_first
        assert not plain.draws_lots


def test_a_deque_has_its_own() -> None:
    scheduler = FifoScheduler()
    assert Abilities(scheduler).has_push_first
    assert Abilities(scheduler).advance is not None
