"""The collector while much is made."""

from __future__ import annotations

import _thread
import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from capriccio_patch.cpython.collector import (
    NoCollections,
    instances,
    of_kinds,
    referents,
    uncollected,
)


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    was_enabled = gc.isenabled()
    yield
    if was_enabled:
        gc.enable()
    else:
        gc.disable()


@pytest.mark.parametrize("is_enabled", [True, False])
def test_it_is_left_as_it_was(is_enabled: bool) -> None:
    if is_enabled:
        gc.enable()
    else:
        gc.disable()
    with NoCollections(), NoCollections():
        assert not gc.isenabled()
    assert gc.isenabled() is is_enabled
    gc.enable()
    with pytest.raises(KeyError), NoCollections():
        raise KeyError
    assert gc.isenabled()


def test_what_the_program_has_frozen_stays_so() -> None:
    gc.enable()
    frozen = gc.get_freeze_count()
    kept: list[object] = []
    gc.freeze()
    try:
        with NoCollections():
            kept.append([])
        assert gc.get_freeze_count() > frozen
        assert any(each is kept for each in gc.get_objects()) is False
        assert any(each is kept[0] for each in gc.get_objects())
    finally:
        if not frozen:
            gc.unfreeze()


def test_what_is_dropped_within_it_is_found_later() -> None:
    gc.enable()
    gc.collect()

    class Node:
        itself: object = None

    with NoCollections():
        node = Node()
        node.itself = node
        del node
        assert any(type(each) is Node for each in gc.get_objects())
    gc.collect()
    assert not any(type(each) is Node for each in gc.get_objects())


def test_nothing_is_collected_in_the_middle_of_a_call() -> None:
    seen: list[bool] = []

    @uncollected
    def call(number: int) -> int:
        seen.append(gc.isenabled())
        return number

    assert call(3) == 3
    assert gc.isenabled()
    gc.disable()
    try:
        assert call(4) == 4
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert seen == [False, False]
    assert uncollected(seen.append) == seen.append


@pytest.fixture(params=["Python", "C"])
def chosen(request: pytest.FixtureRequest) -> Callable[..., list[Any]]:
    if request.param == "Python":
        return of_kinds
    core = pytest.importorskip("capriccio_patch.core._core")
    found: Callable[..., list[Any]] = core.of_kinds
    return found


class Base:
    pass


class Sub(Base):
    pass


def test_what_is_of_a_kind_or_a_subclass_is_chosen_in_order(
    chosen: Callable[..., list[Any]],
) -> None:
    objects = [Base(), Sub(), 1, True, object(), Base, "text", Sub()]

    def get_objects() -> list[Any]:
        return objects

    assert chosen(get_objects, (Base, bool)) == [objects[0], objects[1], True, objects[7]]
    assert chosen(get_objects, (int,)) == [1, True]
    assert chosen(get_objects, ()) == []


def test_many_kinds_are_told_apart(chosen: Callable[..., list[Any]]) -> None:
    kinds = [type(f"Kind{number}", (Base,), {}) for number in range(1000)]
    objects = [kind() for kind in kinds] * 2
    wanted = tuple(kinds[::3])
    assert chosen(lambda: objects, wanted) == [each for each in objects if type(each) in wanted]


def test_c_takes_a_function_and_a_tuple() -> None:
    chosen = pytest.importorskip("capriccio_patch.core._core").of_kinds
    for args in [(list, []), (tuple, ()), ([], ()), (list,)]:
        with pytest.raises(TypeError):
            chosen(*args)


def test_tuples_that_are_about_to_be_made_are_left_alone(run_script: Any) -> None:
    """Who holds one makes that fail, so no other OS thread may run before it is given back."""
    pytest.importorskip("capriccio_patch.core._core")
    run_script(
        """
        import sys, threading
        from capriccio_patch.core._core import of_kinds
        from capriccio_patch.cpython.collector import instances
        sys.setswitchinterval(1e-5)
        def make():
            try:
                while not over:
                    tuple(map(lambda n: n, range(30)))
                    tuple(n for n in range(30))
            except SystemError as error:
                failed.append(error)
        over, failed = [], []
        threads = [threading.Thread(target=make) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(100):
            instances([Exception], of_kinds)
        over.append(True)
        for thread in threads:
            thread.join()
        assert not failed
        """
    )


def test_instances_of_subclasses_exist_too(chosen: Callable[..., list[Any]]) -> None:
    one, other = Base(), Sub()
    found, methods = instances([Base], chosen)
    assert {id(one), id(other)} <= {id(each) for each in found}
    assert methods == []


def test_stored_methods_exist_too(chosen: Callable[..., list[Any]]) -> None:
    lock = _thread.RLock()
    holder = {"acquire": lock.acquire}
    found, methods = instances([_thread.RLock], chosen)
    assert any(each is lock for each in found)
    assert any(each is holder["acquire"] for each in methods)


def test_of_a_module_the_namespace_counts() -> None:
    one, other = object(), [1]
    assert {id(each) for each in referents([one, other])} == {id(one), id(other)}
    assert referents(_thread) == [vars(_thread)]


def test_what_c_keeps_free_is_not_freed_again(run_script: Any) -> None:
    """CPython 3.12 goes round in what `_asyncio` keeps free once somebody has held it."""
    run_script(
        """
        import asyncio, gc, threading
        import capriccio_patch
        capriccio_patch.patch_all()
        event = threading.Event()
        thread = threading.Thread(target=event.wait)
        thread.start()
        async def one():
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, 1)
            await future
        async def main():
            await asyncio.gather(*(one() for _ in range(20)))
        asyncio.run(main())
        for _ in range(3):
            assert capriccio_patch.leaked() == []
        gc.collect()
        event.set()
        thread.join()
        """
    )
