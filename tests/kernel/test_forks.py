"""What a fork leaves of a kernel; no process is forked here."""

from __future__ import annotations

import threading

import pytest

from capriccio_patch.contracts.thread import Thread
from tests.simulation import Deadlock, ScriptedBackend, Simulation


@pytest.fixture
def child(sim: Simulation) -> ScriptedBackend:
    """The backend of the child."""
    return ScriptedBackend(sim.clock)


def test_the_thread_that_forked_is_the_only_one(
    sim: Simulation, child: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = sim.kernel
    kernel.spawn(sim.wait)
    kernel.yield_()

    def fork() -> None:
        kernel.spawn(lambda: sim.log.append("never"))
        kernel.call_soon(sim.log.append, "nor this")
        kernel.after_fork(child)
        me = kernel.current
        assert kernel.threads == {me.ident: me}
        assert kernel.main is me
        assert len(kernel.ready) == 0
        assert kernel.backend is child
        sim.wait(5.0)
        sim.log.append("forked")

    monkeypatch.setattr("capriccio_patch.cpython.originals.process_exit", sim.log.append)
    kernel.spawn(fork)
    with pytest.raises(Deadlock):  # the process would have ended here, with its main thread
        sim.wait()
    assert sim.log == ["forked", 0]


def test_deferred_threads_and_deadlines_are_gone(sim: Simulation, child: ScriptedBackend) -> None:
    kernel = sim.kernel
    thread = kernel.spawn(sim.wait)
    kernel.spawn(lambda: sim.wait(5.0))
    kernel.yield_()
    kernel.resume_deferred(thread)
    kernel.after_fork(child)
    assert not kernel.deferred
    assert not kernel.preempted
    assert len(kernel.timers) == 0
    kernel.preempt()  # nobody else is let in


def test_new_threads_run_in_the_child(sim: Simulation, child: ScriptedBackend) -> None:
    sim.kernel.spawn(sim.wait)
    sim.kernel.yield_()
    sim.kernel.after_fork(child)
    sim.run([lambda: sim.log.append(1), lambda: sim.log.append(2)])
    assert sim.log == [1, 2]


def test_calls_around_a_fork_nest(sim: Simulation, child: ScriptedBackend) -> None:
    kernel, log = sim.kernel, sim.log
    for name in "ab":
        kernel.around_fork(
            lambda name=name: log.append(f"before {name}"),  # type: ignore[misc]
            lambda name=name: log.append(f"after {name}"),  # type: ignore[misc]
        )
        kernel.on_fork(lambda name=name: log.append(f"child {name}"))  # type: ignore[misc]
    kernel.before_fork()
    kernel.end_fork()
    assert log == ["before a", "before b", "after b", "after a"]
    log.clear()
    kernel.after_fork(child)
    assert log == ["child a", "child b", "after b", "after a"]


def test_from_another_os_thread(sim: Simulation, child: ScriptedBackend) -> None:
    kernel = sim.kernel
    before = kernel.main

    def fork() -> None:
        kernel.after_fork(child)
        assert kernel.os_ident == threading.get_ident()
        assert kernel.current is kernel.main is not before
        sim.run([lambda: sim.log.append("runs")])

    other = threading.Thread(target=fork)
    other.start()
    other.join()
    assert sim.log == ["runs"]


def test_a_record_that_stands_for_the_main_thread(sim: Simulation) -> None:
    main = Thread()
    sim.kernel.adopt_main(main)
    assert sim.kernel.main is main
    assert sim.kernel.threads == {main.ident: main}
