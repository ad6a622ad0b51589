"""What leaves a thread's function, and what its greenlet is used for then."""

from __future__ import annotations

import sys
import weakref

from tests.simulation import Simulation


class TestUncaughtErrors:
    """What leaves a thread's function."""

    def test_is_reported(self, sim: Simulation) -> None:
        sim.kernel.report = lambda thread: sim.log.append((thread.ident, sys.exc_info()[0]))
        thread = sim.kernel.spawn(lambda: 1 / 0)
        sim.kernel.yield_()
        assert sim.log == [(thread.ident, ZeroDivisionError)]

    def test_system_exit_is_not(self, sim: Simulation) -> None:
        sim.kernel.report = sim.log.append
        sim.run([sys.exit])
        assert sim.log == []


class TestGreenlets:
    """A greenlet whose thread has ended runs another one."""

    def test_is_used_again(self, sim: Simulation) -> None:
        kernel = sim.kernel
        first = kernel.spawn(lambda: None)
        known = id(first.greenlet)
        kernel.yield_()
        kernel.yield_()
        assert [id(each) for each in kernel.spare] == [known]
        second = kernel.spawn(lambda: sim.log.append(kernel.current))
        assert id(second.greenlet) == known
        assert kernel.spare == []
        kernel.yield_()
        assert sim.log == [second]

    def test_keeps_neither_its_thread_nor_what_that_ran(self, sim: Simulation) -> None:
        class Value:
            pass

        value = Value()
        alive = weakref.ref(value)
        thread = weakref.ref(sim.kernel.spawn(lambda value=value: None))  # type: ignore[misc]
        del value
        sim.kernel.yield_()
        sim.kernel.yield_()
        assert len(sim.kernel.spare) == 1
        assert alive() is None
        assert thread() is None

    def test_not_more_than_a_few_are_kept(self, sim: Simulation) -> None:
        sim.run([lambda: None for _ in range(200)])
        assert 1 <= len(sim.kernel.spare) <= 64
