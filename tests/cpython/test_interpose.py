"""Taking over objects in place, on scratch objects: nothing of the program's is touched here."""

from __future__ import annotations

import _thread
import array
import cmath
import ctypes
import functools
import gc
import inspect
import math
import pickle
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest

from capriccio_patch.cpython import interpose, originals
from capriccio_patch.cpython.interpose import MethodRedirect, Redirect
from tests.conftest import RunScript


def raw(builtin: Any) -> tuple[int, ...]:
    """All fields of a builtin but what counts its references and its list of weak references."""
    word = ctypes.sizeof(ctypes.c_size_t)
    size = type(builtin).__basicsize__ // word
    fields = list((ctypes.c_size_t * size).from_address(id(builtin)))
    del fields[type(builtin).__weakrefoffset__ // word]
    return tuple(fields[object.__basicsize__ // word - 1 :])


@pytest.fixture
def scratch() -> Iterator[Any]:
    """A builtin of our own: ``cmath.phase``, once more."""
    builtin = interpose.clone(cmath.phase)
    yield builtin
    assert builtin(-1) == cmath.phase(-1), "the test has not undone its redirect"


class TestClone:
    def test_calls_the_same_function(self) -> None:
        copy = interpose.clone(math.gcd)
        assert copy is not math.gcd
        assert copy(12, 18) == 6
        assert repr(copy) == repr(math.gcd)

    def test_goes_on_when_the_original_is_redirected(self, scratch: Any) -> None:
        copy = interpose.clone(scratch)
        redirect = Redirect(scratch, lambda *_: "redirected")
        assert scratch(-1) == "redirected"
        assert copy(-1) == cmath.phase(-1)
        redirect.undo()

    def test_leaves_alone_what_is_no_builtin(self) -> None:
        for other in (len.__class__, inspect.signature, None, str.upper):
            assert interpose.clone(other) is other

    def test_all_originals_are_copies(self) -> None:
        """A reference to what is redirected in place would lead back to the replacement."""
        names = [name for name, value in vars(originals).items() if inspect.isbuiltin(value)]
        assert {"get_ident", "sleep", "select_select", "read"} <= set(names)
        for name in names:
            found = getattr(originals, name)
            module = import_module(found.__module__ or "builtins")
            theirs = getattr(module, found.__name__, None)
            assert found is not theirs, name


class TestRedirect:
    def test_every_reference_is_served(self, scratch: Any) -> None:
        def default(call: Any = scratch) -> Any:
            return call(-1)

        def closure(call: Any) -> Callable[[], Any]:
            return lambda: call(-1)

        class Holder:
            call = scratch

        references: dict[str, Callable[[], Any]] = {
            "global": lambda: scratch(-1),
            "default": default,
            "closure": closure(scratch),
            "attribute": lambda: Holder().call(-1),
            "partial": functools.partial(scratch, -1),
            "frozenset": lambda: next(iter(frozenset([scratch])))(-1),
            "map": lambda: next(map(scratch, [-1])),
            "bound": lambda: scratch.__call__(-1),
        }
        before = cmath.phase(-1)
        assert {name: call() for name, call in references.items()} == dict.fromkeys(
            references, before
        )
        redirect = Redirect(scratch, lambda number: -number)
        assert {name: call() for name, call in references.items()} == dict.fromkeys(references, 1)
        redirect.undo()
        assert {name: call() for name, call in references.items()} == dict.fromkeys(
            references, before
        )

    def test_a_call_site_that_was_specialized(self, scratch: Any) -> None:
        def call() -> Any:
            return scratch(1)

        for _ in range(1000):
            call()
        redirect = Redirect(scratch, lambda number: "redirected")
        assert call() == "redirected"
        for _ in range(1000):
            call()
        redirect.undo()
        assert call() == cmath.phase(1)

    def test_arguments_and_keywords(self, scratch: Any) -> None:
        redirect = Redirect(scratch, lambda *args, **kwargs: (args, kwargs))
        assert scratch() == ((), {})
        assert scratch(1, 2, three=3) == ((1, 2), {"three": 3})
        assert scratch(*range(300)) == (tuple(range(300)), {})
        assert scratch(a=1) == ((), {"a": 1})
        redirect.undo()

    def test_exceptions(self, scratch: Any) -> None:
        redirect = Redirect(scratch, lambda number: 1 / number)
        for _ in range(10_000):
            with pytest.raises(ZeroDivisionError):
                scratch(0)
        with pytest.raises(TypeError):
            scratch()
        redirect.undo()

    def test_it_looks_as_before(self, scratch: Any) -> None:
        def look() -> list[Any]:
            return [
                repr(scratch),
                scratch.__name__,
                scratch.__qualname__,
                scratch.__module__,
                scratch.__doc__,
                scratch.__text_signature__,
                repr(scratch.__self__),
                type(scratch),
                inspect.isbuiltin(scratch),
                str(inspect.signature(scratch)),
            ]

        before = look()
        module = scratch.__self__
        redirect = Redirect(scratch, abs)
        after = look()
        redirect.undo()
        # Only the module object that it is bound to is another one.
        assert after[:6] + after[7:] == before[:6] + before[7:]
        assert scratch.__self__ is module

    def test_it_is_pickled_by_name(self) -> None:
        redirect = Redirect(cmath.phase, lambda number: "redirected")
        try:
            assert pickle.loads(pickle.dumps(cmath.phase)) is cmath.phase
        finally:
            redirect.undo()

    def test_undo_is_exact(self, scratch: Any) -> None:
        before = raw(scratch)
        count = sys.getrefcount(scratch)
        for _ in range(10):
            redirect = Redirect(scratch, abs)
            assert raw(scratch) != before
            redirect.undo()
            del redirect
        assert raw(scratch) == before
        assert sys.getrefcount(scratch) == count

    def test_the_collector_counts_right(self, scratch: Any) -> None:
        class Replacement:
            def __call__(self, *_: Any) -> str:
                return "redirected"

        replacement = Replacement()
        alive = weakref.ref(replacement)
        redirect = Redirect(scratch, replacement)
        del replacement
        for _ in range(3):
            gc.collect()
        assert scratch(1) == "redirected"
        redirect.undo()
        del redirect
        gc.collect()
        assert alive() is None

    def test_from_several_os_threads(self, scratch: Any) -> None:
        redirect = Redirect(scratch, lambda number: number + 1)
        wrong: list[Any] = []

        def hammer() -> None:
            wrong.extend(n for n in range(20_000) if scratch(n) != n + 1)

        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        redirect.undo()
        assert wrong == []

    def test_a_redirect_upon_a_redirect(self, scratch: Any) -> None:
        outer = Redirect(scratch, lambda _: "outer")
        inner = Redirect(scratch, lambda _: "inner")
        assert scratch(1) == "inner"
        inner.undo()
        assert scratch(1) == "outer"
        outer.undo()


class TestMethodRedirect:
    def test_a_stored_method_calls_the_replacement(self) -> None:
        lock = _thread.allocate_lock()
        method = lock.locked
        calls: list[Any] = []

        def locked(self: Any) -> str:
            calls.append(self)
            return "redirected"

        before = raw(method)
        redirect = MethodRedirect(method, locked.__get__(lock))
        assert method() == "redirected"
        assert calls == [lock]
        assert method.__name__ == "locked"
        redirect.undo()
        assert method() is False
        assert raw(method) == before

    def test_the_object_lives_as_long_as_the_method(self) -> None:
        class Replacement:
            def __init__(self, lock: Any) -> None:
                self.__self__ = lock

            def __call__(self) -> bool:
                return bool(originals.lock_locked(self.__self__))

        lock = _thread.allocate_lock()
        alive = weakref.ref(lock)
        method = lock.locked
        redirect = MethodRedirect(method, Replacement(lock))
        del lock
        gc.collect()
        assert alive() is not None
        assert method() is False
        del method
        gc.collect()
        assert alive() is None
        redirect.undo()  # of a method that is no more


class TestTypes:
    """Attributes of immutable C types."""

    IMMUTABLE = array.array
    FLAG = 1 << 8

    def test_it_is_immutable(self) -> None:
        with pytest.raises(TypeError):
            self.IMMUTABLE.added = 1  # type: ignore[attr-defined]

    def test_set_and_delete(self) -> None:
        cls = self.IMMUTABLE
        before = dict(vars(cls))
        flags = cls.__flags__ & self.FLAG
        one = cls("i")
        interpose.set_attribute(cls, "added", lambda self: "found")
        assert one.added() == "found"  # type: ignore[attr-defined]
        interpose.del_attribute(cls, "added")
        assert not hasattr(one, "added")
        assert dict(vars(cls)) == before
        assert cls.__flags__ & self.FLAG == flags

    def test_it_is_immutable_again(self) -> None:
        interpose.set_attribute(self.IMMUTABLE, "added", 1)
        interpose.del_attribute(self.IMMUTABLE, "added")
        self.test_it_is_immutable()

    def test_replacing_reaches_existing_objects_and_warm_call_sites(self) -> None:
        cls = self.IMMUTABLE
        one = cls("i", [1])

        def call() -> Any:
            return one.tolist()

        for _ in range(1000):
            call()
        found = vars(cls)["tolist"]
        for _ in range(3):
            interpose.set_attribute(cls, "tolist", lambda self: "replaced")
            assert call() == "replaced"
            for _ in range(100):
                call()
            interpose.set_attribute(cls, "tolist", found)
            assert call() == [1]
        assert vars(cls)["tolist"] is found

    def test_subclasses_see_it(self) -> None:
        class Sub(array.array):  # type: ignore[type-arg]
            pass

        sub = Sub("i")
        assert not hasattr(sub, "added")
        interpose.set_attribute(self.IMMUTABLE, "added", 1)
        assert sub.added == 1  # type: ignore[attr-defined]
        interpose.del_attribute(self.IMMUTABLE, "added")
        assert not hasattr(sub, "added")

    def test_a_slot_method(self) -> None:
        cls = self.IMMUTABLE
        found = vars(cls)["__repr__"]
        interpose.set_attribute(cls, "__repr__", lambda self: "replaced")
        try:
            assert repr(cls("i")) == "replaced"
        finally:
            interpose.set_attribute(cls, "__repr__", found)
        assert repr(cls("i")) == "array('i')"

    def test_a_mutable_class_stays_one(self) -> None:
        class Mutable:
            pass

        interpose.set_attribute(Mutable, "added", 1)
        Mutable.another = 2  # type: ignore[attr-defined]
        interpose.del_attribute(Mutable, "added")
        assert not hasattr(Mutable, "added")


def test_leaked_objects_stay() -> None:
    class Leaked:
        pass

    leaked = Leaked()
    alive = weakref.ref(leaked)
    address = id(leaked)
    interpose.leak(leaked)
    del leaked
    gc.collect()
    assert alive() is not None
    interpose.release(address)
    gc.collect()
    assert alive() is None


def test_a_redirected_call_costs_no_lookup_of_names(scratch: Any) -> None:
    """A builtin is called at the end of an interpreter's life, when modules are empty."""
    redirect = Redirect(scratch, lambda number: number)
    assert redirect.builtin is scratch
    assert scratch(time.monotonic) is time.monotonic
    redirect.undo()


class TestDefinitions:
    """Somebody writes another C function into a builtin's method definition."""

    @staticmethod
    def rewritten(builtin: Any, other: Any) -> Callable[[], None]:
        """Have `builtin` call what `other` calls, as libraries that freeze time do; the undo."""
        definition, source = (
            interpose._MethodDef.from_address(interpose._fields(each).ml)
            for each in (builtin, other)
        )
        before = definition.meth
        definition.meth = source.meth

        def undo() -> None:
            definition.meth = before

        return undo

    def test_a_clone_goes_on(self) -> None:
        copy = interpose.clone(time.monotonic)
        undo = self.rewritten(time.monotonic, time.process_time)
        try:
            assert time.monotonic() == pytest.approx(time.process_time(), abs=1)
            assert copy() == pytest.approx(originals.monotonic(), abs=1)
            assert repr(copy) == repr(time.monotonic)
            # What is cloned now calls what is called now.
            assert interpose.clone(time.monotonic)() == pytest.approx(time.process_time(), abs=1)
        finally:
            undo()
        assert interpose.clone(time.monotonic)() == pytest.approx(originals.monotonic(), abs=1)

    def test_clones_of_one_builtin_share_a_definition(self) -> None:
        number = len(interpose._copies)
        for _ in range(10):
            interpose.clone(interpose.clone(time.perf_counter))
        assert len(interpose._copies) <= number + 2

    @pytest.mark.parametrize("when", ["before the patch", "after it"])
    def test_the_runtimes_clock_goes_on(self, run_script: RunScript, when: str) -> None:
        """While that of the program stands still."""
        patch, freeze = "capriccio_patch.patch_all()", "definition.meth = frozen"
        steps = (freeze, patch) if when == "before the patch" else (patch, freeze)
        done = run_script(
            f"""
            import ctypes, queue, select, socket, threading, time
            import capriccio_patch
            from capriccio_patch.cpython import interpose

            real = time.perf_counter
            function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p)
            stands = function(lambda module, args: 100.0)
            frozen = ctypes.cast(stands, ctypes.c_void_p).value
            definition = interpose._MethodDef.from_address(interpose._fields(time.monotonic).ml)
            before = definition.meth
            {steps[0]}
            {steps[1]}
            assert time.monotonic() == time.monotonic() == 100.0
            start = real()
            one, other = socket.socketpair()
            one.settimeout(0.05)
            lock = threading.Lock()
            lock.acquire()
            ticks = []

            def tick():
                for _ in range(3):
                    time.sleep(0.01)
                    ticks.append(1)

            thread = threading.Thread(target=tick)
            thread.start()
            assert not lock.acquire(timeout=0.05)
            for wait, error in (
                (lambda: one.recv(1), TimeoutError),
                (lambda: queue.SimpleQueue().get(timeout=0.05), queue.Empty),
            ):
                try:
                    wait()
                except error:
                    pass
            assert select.select([one], [], [], 0.05) == ([], [], [])
            thread.join()
            print(len(ticks), 0.2 <= real() - start < 10)
            definition.meth = before
            """
        )
        assert done.stdout == "3 True\n"
