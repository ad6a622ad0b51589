"""What C keeps by OS thread is each thread's own."""

from __future__ import annotations

import _thread
import ctypes
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import SCHEMES, RunScript, with_scheme
from tests.simulation import Simulation


class TestStateOfC:
    """What C keeps by OS thread is each thread's own."""

    def test_thread_locals(self, sim: Simulation) -> None:
        local = _thread._local()

        def work(name: str) -> Callable[[], None]:
            def run() -> None:
                assert not hasattr(local, "name")
                local.name = name
                sim.kernel.yield_()
                sim.log.append(local.name == name)

            return run

        local.name = "main"
        sim.run([work(name) for name in "abc"])
        assert sim.log == [True] * 3
        assert local.name == "main"

    def test_errno_of_ctypes(self, sim: Simulation) -> None:
        def work(number: int) -> Callable[[], None]:
            def run() -> None:
                assert ctypes.set_errno(number) == 0
                sim.kernel.yield_()
                sim.log.append(ctypes.get_errno() == number)

            return run

        ctypes.set_errno(7)
        sim.run([work(number) for number in (1, 2)])
        assert sim.log == [True] * 2
        assert ctypes.set_errno(0) == 7

    def test_errno_of_ctypes_is_not_kept_when_it_is_0(self, sim: Simulation) -> None:
        ctypes.set_errno(0)
        sim.run([sim.kernel.yield_])
        assert "ctypes.error_object" not in sim.kernel.tsd

    def test_values_die_with_their_thread(self, sim: Simulation) -> None:
        local = _thread._local()

        class Value:
            def __del__(self) -> None:
                sim.log.append(sim.kernel.current.ident)

        def work() -> None:
            local.value = Value()
            sim.kernel.yield_()

        thread = sim.kernel.spawn(work)
        sim.kernel.yield_()
        assert sim.log == []
        sim.kernel.yield_()
        assert sim.log == [thread.ident]

    def test_a_destructor_that_makes_new_values(self, sim: Simulation) -> None:
        local = _thread._local()

        class Value:
            def __init__(self, left: int) -> None:
                self.left = left

            def __del__(self) -> None:
                sim.log.append(self.left)
                if self.left:
                    local.value = Value(self.left - 1)

        sim.run([lambda: setattr(local, "value", Value(2))])
        assert sim.log == [2, 1, 0]

    @pytest.mark.parametrize("kind", ["trace", "profile"])
    def test_trace_and_profile_functions(self, sim: Simulation, kind: str) -> None:
        put: Callable[[Any], None] = getattr(sys, f"set{kind}")
        get: Callable[[], Any] = getattr(sys, f"get{kind}")

        def work(name: str) -> Callable[[], None]:
            def note(frame: Any, event: str, _: Any) -> Any:
                if event == "call" and frame.f_code is step.__code__:
                    sim.log.append(name)
                return note

            def step() -> None:
                sim.kernel.yield_()

            def run() -> None:
                assert get() is None
                put(note)
                for _ in range(3):
                    step()
                    sim.log.append(get() is note)

            return run

        before = get()
        sim.run([work("a"), work("b")])
        assert sorted(map(str, sim.log)) == ["True"] * 6 + ["a"] * 3 + ["b"] * 3
        assert get() is before

    def test_a_repr_leaves_nothing_to_exchange(self, sim: Simulation) -> None:
        def work() -> None:
            repr([[]])
            sim.kernel.yield_()
            sim.log.append(sim.kernel.current.c_state)

        thread = sim.kernel.spawn(work)
        sim.kernel.yield_()
        assert thread.c_state is None
        sim.kernel.yield_()

    def test_a_finalizer_that_waits_for_a_switch_finds_and_keeps_those_of_its_host(
        self, sim: Simulation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where the host is woken first, and others are chosen after the finalizer."""
        kernel = sim.kernel
        local = _thread._local()
        me = kernel.begin()

        def finalize() -> None:
            monkeypatch.undo()
            sim.log.append(local.name)
            waiter = kernel.begin()
            kernel.resume(me)
            kernel.spawn(lambda: (kernel.yield_(), kernel.resume(waiter)))
            kernel.park(waiter)
            sim.log.append(local.name)

        def work(name: str) -> Callable[[], None]:
            def run() -> None:
                local.name = name
                for _ in range(5):
                    kernel.yield_()
                    assert local.name == name

            return run

        local.name = "main"
        ctypes.set_errno(7)
        for name in "ab":
            kernel.spawn(work(name))
        monkeypatch.setattr("capriccio_patch.kernel.core.let_finalizers_come", finalize)
        kernel.park(me)
        sim.log.append(local.name)
        kernel.sleep_until(sim.clock() + 1.0)
        assert sim.log == ["main"] * 3
        assert (local.name, ctypes.set_errno(0)) == ("main", 7)

    def test_what_a_finalizer_between_two_threads_leaves_is_nobodys(
        self, sim: Simulation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        local = _thread._local()

        class Value:
            def __del__(self) -> None:
                sim.log.append("dropped")

        def finalize() -> None:
            monkeypatch.undo()
            local.value = Value()

        def first() -> None:
            monkeypatch.setattr("capriccio_patch.kernel.lifecycle.let_finalizers_come", finalize)

        sim.run([first, lambda: sim.log.append(hasattr(local, "value"))])
        assert sim.log == ["dropped", False]


@pytest.mark.parametrize("sockio", SCHEMES)
def test_the_package_leaves_the_programs_errno(run_script: RunScript, sockio: str) -> None:
    """ctypes keeps it for the program; what the package calls so itself puts it back."""
    done = run_script(
        """
        import ctypes, os, pathlib, signal, socket, threading, time
        import capriccio_patch
        capriccio_patch.patch_all()

        def work(number):
            ctypes.set_errno(number)
            with socket.create_server(("127.0.0.1", 0)) as server:
                client = socket.create_connection(server.getsockname())
                served, _ = server.accept()
                client.settimeout(0.001)
                try:
                    client.recv(1)
                except TimeoutError:
                    pass
                served.send(b"x")
                client.settimeout(30)
                client.recv(1)
                served.close(), client.close()
            pathlib.Path("/nowhere").exists()
            path = pathlib.Path(f"{os.getpid()}.{number}")
            path.write_text("text")
            path.open("w").close()
            path.unlink()
            time.sleep(0.002)
            if hasattr(signal, "sigtimedwait"):  # macOS has none
                signal.sigtimedwait([signal.SIGUSR1], 0.001)
            kept.append(ctypes.get_errno() == number)

        kept = []
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        work(9)
        print(kept)
        """,
        env=with_scheme(sockio),
    )
    assert done.stdout == f"{[True] * 6}\n"
