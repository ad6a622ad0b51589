"""Interrupts: what a thread does before it does anything else."""

from __future__ import annotations

import sys

from capriccio_patch.contracts.thread import Thread
from tests.simulation import Simulation


class TestInterrupts:
    """`Kernel.interrupt`: code that a waiting thread has to run."""

    def waiter(self, sim: Simulation, timeout: float | None = None) -> Thread:
        def wait() -> None:
            try:
                sim.log.append(sim.wait(timeout=timeout))
            except ZeroDivisionError:
                sim.log.append("error")

        thread = sim.kernel.spawn(wait)
        sim.kernel.yield_()
        assert thread.parked
        return thread

    def test_the_wait_goes_on(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: sim.log.append(sim.kernel.current.ident))
        sim.kernel.yield_()
        assert sim.log == [thread.ident]
        assert thread.parked
        sim.kernel.resume(thread)
        sim.kernel.yield_()
        assert sim.log == [thread.ident, True]

    def test_what_is_raised_ends_the_wait(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: 1 / 0)
        sim.kernel.yield_()
        assert sim.log == ["error"]
        assert thread.ident not in sim.kernel.threads

    def test_a_resume_meanwhile_is_not_lost(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: sim.log.append("action"))
        sim.kernel.resume(thread)
        sim.kernel.yield_()
        assert sim.log == ["action", True]

    def test_a_resume_by_the_action_itself(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: sim.kernel.resume(thread))
        sim.kernel.yield_()
        sim.kernel.yield_()
        assert sim.log == [True]

    def test_an_action_may_wait(self, sim: Simulation) -> None:
        thread = self.waiter(sim)

        def action() -> None:
            sim.kernel.sleep_until(sim.clock() + 1.0)
            sim.log.append("slept")

        sim.kernel.interrupt(thread, action)
        sim.kernel.sleep_until(sim.clock() + 2.0)
        assert sim.log == ["slept"]
        sim.kernel.resume(thread)
        sim.kernel.yield_()
        assert sim.log == ["slept", True]

    def test_the_deadline_of_an_interrupted_wait_stands(self, sim: Simulation) -> None:
        thread = self.waiter(sim, timeout=5.0)
        sim.kernel.interrupt(thread, lambda: sim.log.append("action"))
        sim.kernel.sleep_until(sim.clock() + 6.0)
        assert sim.log == ["action", False]

    def test_two_before_the_thread_runs(self, sim: Simulation) -> None:
        thread = self.waiter(sim)
        sim.kernel.interrupt(thread, lambda: sim.log.append(1))
        sim.kernel.interrupt(thread, lambda: sim.log.append(2))
        sim.kernel.yield_()
        assert sim.log == [1, 2]
        sim.kernel.resume(thread)
        sim.kernel.yield_()


class TestThrow:
    """`Kernel.throw`: an exception for a thread, when its wait is over."""

    def test_the_wait_comes_first(self, sim: Simulation) -> None:
        kernel = sim.kernel

        def wait() -> None:
            try:
                sim.wait()
            except KeyError:
                sim.log.append("thrown")

        thread = kernel.spawn(wait)
        kernel.yield_()
        kernel.throw(thread, KeyError)
        kernel.yield_()
        assert sim.log == []
        kernel.resume(thread)
        kernel.yield_()
        assert sim.log == ["thrown"]

    def test_before_the_thread_has_begun(self, sim: Simulation) -> None:
        sim.kernel.report = lambda thread: sim.log.append(sys.exc_info()[0])
        thread = sim.kernel.spawn(lambda: sim.log.append("ran"))
        sim.kernel.throw(thread, KeyError())
        sim.kernel.yield_()
        assert sim.log == [KeyError]

    def test_taken_back(self, sim: Simulation) -> None:
        thread = sim.kernel.spawn(lambda: sim.log.append("ran"))
        sim.kernel.throw(thread, KeyError())
        sim.kernel.throw(thread, None)
        sim.kernel.yield_()
        assert sim.log == ["ran"]

    def test_an_interrupt_of_the_wait_does_not_bring_it_forward(self, sim: Simulation) -> None:
        kernel = sim.kernel
        kernel.report = lambda thread: sim.log.append(sys.exc_info()[0])
        thread = kernel.spawn(sim.wait)
        kernel.yield_()
        kernel.throw(thread, KeyError)
        kernel.interrupt(thread, lambda: sim.log.append("action"))
        kernel.yield_()
        assert sim.log == ["action"]
        kernel.resume(thread)
        kernel.yield_()
        assert sim.log == ["action", KeyError]


class TestRunAs:
    """`Kernel.run_as`: an action that waits as a thread of its own."""

    def test_an_action_can_be_interrupted_while_it_waits(self, sim: Simulation) -> None:
        kernel = sim.kernel
        waiting = kernel.spawn(lambda: sim.log.append(sim.wait()))
        kernel.yield_()
        runner = Thread()
        runner.started = True

        def action() -> None:
            runner.greenlet = waiting.greenlet
            kernel.run_as(runner)
            assert kernel.current is runner
            sim.wait()
            sim.log.append("waited")

        kernel.interrupt(waiting, action)
        kernel.yield_()
        assert runner.parked
        assert waiting.parked
        kernel.interrupt(runner, lambda: sim.log.append("interrupted"))
        kernel.yield_()
        kernel.resume(runner)
        kernel.yield_()
        assert sim.log == ["interrupted", "waited"]
        kernel.resume(waiting)
        kernel.yield_()
        assert sim.log == ["interrupted", "waited", True]
