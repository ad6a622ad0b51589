"""The scheduler ``graph``: who waits when something is scarce, and that nobody does for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from capriccio_patch.graph.scarcity import Level, Scarcity
from capriccio_patch.schedulers.graph import HOLD, IN_A_ROW, QUIET, GraphScheduler, _Constrained
from tests.simulation import Simulation


class Stock(Scarcity):
    """What there is, as a test says."""

    def look(self, now: float, runnable: int) -> bool:
        self.room = 1
        return bool(self.descriptors or self.memory or self.cpu)


class World:
    """Threads at three places: one takes descriptors, one gives them back, one does neither."""

    def __init__(self) -> None:
        self.scheduler = GraphScheduler()
        self.scheduler.scarcity = Stock()
        self.sim = Simulation(self.scheduler)
        self.kernel = self.sim.kernel
        self.scheduler.attach(self.kernel)
        self.ran: list[str] = []
        self.parked: list[Any] = []

    def scarce(self, **levels: Level) -> None:
        for name, level in levels.items():
            setattr(self.scheduler.scarcity, name, level)

    def thread(self, name: str, place: Callable[[World], None]) -> Callable[[], None]:
        def run() -> None:
            place(self)
            self.ran.append(name)

        return run

    def learn(self, name: str, descriptors: float = 0.0, cpu: float = 0.0) -> None:
        """Have what was sampled at a place be this."""
        for place in self.scheduler.recorder.places:
            if place.kind == name:
                place.samples = 100
                place.descriptors = descriptors
                place.cpu = cpu

    def wake(self) -> None:
        for thread in self.parked:
            self.kernel.resume(thread)


def at(kind: str) -> Callable[[World], None]:
    def place(world: World) -> None:
        me = world.kernel.begin()
        me.kind = kind
        world.parked.append(me)
        world.kernel.park(me)

    return place


take, give, neither = at("take"), at("give"), at("neither")


@pytest.fixture
def world() -> World:
    return World()


def run(world: World, level: Level, *names: str) -> list[str]:
    """Park a thread for each name, make things scarce, wake all in this order, and let them run."""
    kinds = {"t": take, "g": give, "n": neither}
    threads = [world.thread(name, kinds[name[0]]) for name in names]

    def director() -> None:
        while len(world.parked) < len(names):
            world.kernel.yield_()
        for thread in world.parked:
            world.scheduler.recorder.place(thread)
        world.learn("take", 1.0)
        world.learn("give", -1.0)
        world.learn("neither")
        world.scarce(descriptors=level)
        world.scheduler._look_around()
        world.wake()

    world.sim.run([*threads, director])
    return world.ran


def test_while_there_is_enough_it_is_first_in_first_out(world: World) -> None:
    assert run(world, Level.ENOUGH, "t1", "n1", "g1", "t2") == ["t1", "n1", "g1", "t2"]
    assert type(world.scheduler) is GraphScheduler


def test_who_gives_back_goes_first_and_who_takes_last(world: World) -> None:
    assert run(world, Level.LITTLE, "t1", "n1", "g1", "t2", "g2") == ["g1", "g2", "n1", "t1", "t2"]


def test_with_nothing_left_too_and_those_who_wait_are_let_through_in_time(world: World) -> None:
    begun = world.sim.clock()
    assert run(world, Level.NONE, "t1", "n1", "g1", "t2") == ["g1", "n1", "t1", "t2"]
    assert world.sim.clock() - begun >= 2 * QUIET  # one after the other


def test_who_waits_is_let_through_at_once_when_there_is_enough_again(world: World) -> None:
    def plenty() -> None:
        world.scarce(descriptors=Level.ENOUGH)

    original = world.thread

    def thread(name: str, place: Callable[[World], None]) -> Callable[[], None]:
        inner = original(name, place)

        def outer() -> None:
            inner()
            if name == "g1":
                plenty()

        return outer

    world.thread = thread  # type: ignore[method-assign]
    begun = world.sim.clock()
    assert run(world, Level.NONE, "t1", "g1", "n1", "t2") == ["g1", "n1", "t1", "t2"]
    assert world.sim.clock() == begun
    assert type(world.scheduler) is GraphScheduler


def test_nobody_is_held_for_long_by_those_who_keep_running(world: World) -> None:
    spins = 0

    def spin(world: World) -> None:
        nonlocal spins
        neither(world)
        while "t1" not in world.ran:
            spins += 1
            world.sim.clock.now += 0.001
            world.kernel.now = world.sim.clock.now
            world.kernel.yield_()

    original = world.thread
    world.thread = lambda name, place: original(  # type: ignore[method-assign]
        name, spin if name == "n1" else place
    )
    run(world, Level.LITTLE, "t1", "n1")
    assert HOLD * 900 < spins < HOLD * 1100


def test_who_does_neither_is_not_starved_by_those_who_give_back(world: World) -> None:
    names = [*(f"g{number}" for number in range(IN_A_ROW + 10)), "n1"]
    ran = run(world, Level.LITTLE, *names)
    assert ran.index("n1") == IN_A_ROW


def test_who_takes_least_in_the_long_run_is_let_through_first(world: World) -> None:
    """One that will give back more later is better than one that goes on taking."""
    scheduler = world.scheduler

    def director() -> None:
        while len(world.parked) < 2:
            world.kernel.yield_()
        ends, goes_on = (scheduler.recorder.place(thread) for thread in world.parked[::-1])
        gives = scheduler.recorder._new("elsewhere", ())
        from capriccio_patch.graph.model import Averages

        def move(source: Any, target: Any, descriptors: float) -> None:
            source.samples = 100
            source.descriptors = descriptors
            source.moves[target] = averages = Averages()
            averages.count = 100
            averages.descriptors = descriptors

        for each in (ends, goes_on, gives):
            each.moves.clear()
        move(goes_on, goes_on, 1.0)
        move(ends, gives, 1.0)
        move(gives, scheduler.recorder._end, -2.0)
        world.scarce(descriptors=Level.LITTLE)
        scheduler._look_around()
        world.wake()

    world.sim.run([world.thread("goes on", at("one")), world.thread("ends", at("other")), director])
    assert world.ran == ["ends", "goes on"]


def test_cpu_time_holds_back_those_who_use_much(world: World) -> None:
    def director() -> None:
        while len(world.parked) < 3:
            world.kernel.yield_()
        for thread in world.parked:
            world.scheduler.recorder.place(thread)
        world.scheduler.recorder.cpu = 100.0
        world.learn("take", cpu=1000.0)
        world.learn("give", cpu=10.0)
        world.learn("neither", cpu=100.0)
        world.scarce(cpu=Level.LITTLE)
        world.scheduler._look_around()
        world.wake()

    world.sim.run(
        [world.thread(name, at(name)) for name in ("take", "neither", "give")] + [director]
    )
    assert world.ran == ["give", "neither", "take"]


def test_the_urgent_one_is_not_held(world: World) -> None:
    def director() -> None:
        while len(world.parked) < 2:
            world.kernel.yield_()
        for thread in world.parked:
            world.scheduler.recorder.place(thread)
        world.learn("take", 1.0)
        world.learn("give", -1.0)
        world.scarce(descriptors=Level.NONE)
        world.scheduler._look_around()
        first, second = world.parked
        world.kernel.resume(second)

        def handler() -> None:
            world.ran.append("handler")
            world.kernel.resume(first)

        world.kernel.interrupt(first, handler)

    world.sim.run([world.thread("t1", take), world.thread("g1", give), director])
    assert world.ran[0] == "handler"
    assert sorted(world.ran) == ["g1", "handler", "t1"]


def test_one_is_held_in_an_emptied_queue(world: World) -> None:
    """The kernel must wait for events then; but it is told when to look again."""
    assert run(world, Level.NONE, "t1") == ["t1"]
    assert max(t for t in world.sim.backend.timeouts if t is not None) <= QUIET
    assert any(timeout for timeout in world.sim.backend.timeouts)


def test_the_mode_is_the_class(world: World) -> None:
    assert not world.scheduler.checkpoint()
    world.scarce(memory=Level.LITTLE)
    assert world.scheduler.checkpoint()
    assert type(world.scheduler) is _Constrained
    world.scarce(memory=Level.ENOUGH)
    world.scheduler._look_around()
    assert not world.scheduler.checkpoint()
