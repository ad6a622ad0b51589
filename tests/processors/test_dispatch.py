"""Which kernel's function a call is for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from capriccio_patch.cpython import originals
from capriccio_patch.processors.dispatch import Dispatch
from capriccio_patch.wrappers.base import Method, Patch
from tests.conftest import os_thread

HERE = originals.get_ident()


class Kernel:
    """What is looked at in a kernel; its threads name their own."""

    def __init__(self, os_ident: int) -> None:
        self.os_ident = os_ident
        self.threads: dict[int, Any] = {}
        self.proxies: dict[int, int] = {}

    def of(self, thread: Any) -> Any:
        return thread.kernel


def main_kernel(os_ident: int) -> Any:
    return Kernel(os_ident)


def named(name: str, replacement: Any, group: str = "time") -> Patch:
    return Patch(group, "module", name, replacement)


def elsewhere(call: Any) -> Any:
    """What a call returns on another OS thread."""
    found: list[Any] = []
    over = originals.allocate_lock()
    over.acquire()

    def run() -> None:
        found.append((originals.get_ident(), call()))
        over.release()

    os_thread(run)
    over.acquire()
    return found[0]


def test_the_main_kernel_answers_where_there_is_none() -> None:
    (row,) = Dispatch(main_kernel(HERE)).rows([named("call", lambda *args: ("main", args))])
    assert row.replacement(1) == ("main", (1,))
    assert elsewhere(lambda: row.replacement(2))[1] == ("main", (2,))


def test_each_has_its_own() -> None:
    dispatch = Dispatch(main_kernel(0))
    (row,) = dispatch.rows([named("call", lambda: "main")])
    dispatch.add(HERE, [named("call", lambda: "second"), named("unknown", lambda: None)])
    assert row.replacement() == "second"
    assert elsewhere(row.replacement)[1] == "main"


def test_methods_are_bound_where_they_are_looked_up() -> None:
    dispatch = Dispatch(main_kernel(0))
    first = Method(len, lambda instance, cls: ("main", instance), lambda: "main")
    (row,) = dispatch.rows([named("method", first)])
    second = Method(len, lambda instance, cls: ("second", instance), lambda: "second")
    dispatch.add(HERE, [named("method", second)])

    class Found:
        method = row.replacement

    found = Found()
    assert Found.method() == "second"
    assert found.method == ("second", found)
    assert elsewhere(lambda: found.method)[1] == ("main", found)


def test_what_belongs_to_the_process() -> None:
    row = named("dump", lambda: None, "faulthandler")
    assert Dispatch(main_kernel(HERE)).rows([row]) == [row]


def test_one_is_kept() -> None:
    dispatch = Dispatch(main_kernel(0))
    (row,) = dispatch.rows([named("call", lambda: "main")])
    dispatch.add(HERE, [named("call", lambda: "second")])
    dispatch.keep(HERE)
    assert row.replacement() == elsewhere(row.replacement)[1] == "second"


def test_who_works_for_a_thread_calls_its_kernels() -> None:
    main, second = main_kernel(0), main_kernel(2)
    lender = SimpleNamespace(kernel=second)
    main.threads[7] = lender
    dispatch = Dispatch(main)
    (row,) = dispatch.rows([named("call", lambda: "main")])
    dispatch.add(2, [named("call", lambda: "second")])
    assert row.replacement() == "main"
    main.proxies[HERE] = 7
    assert row.replacement() == "second"
    assert elsewhere(row.replacement)[1] == "main"


def test_one_of_functions_that_are_no_rows() -> None:
    dispatch = Dispatch(main_kernel(0))
    call = dispatch.one_of(lambda: "main", {HERE: lambda: "second"})
    assert call() == "second"
    assert elsewhere(call)[1] == "main"
    dispatch.keep(HERE)
    assert elsewhere(call)[1] == "second"


def test_signals_are_the_main_kernels_until_another_has_forked() -> None:
    dispatch = Dispatch(main_kernel(0))
    (row,) = dispatch.rows([named("call", lambda: "main", "signal")])
    dispatch.add(HERE, [named("call", lambda: "second", "signal")])
    assert row.replacement() == "main"
    dispatch.keep(HERE)
    assert row.replacement() == "second"


def none() -> Any:
    return ()


def by_position(first: Any, second: Any, /) -> Any:
    return first, second


def itself(self: Any) -> Any:
    return self


def otherwise(first: Any, second: Any = 2, *rest: Any, **more: Any) -> Any:
    return first, second, rest, more


@pytest.mark.parametrize(
    ("function", "calls"),
    [
        (none, [((), {}), ((1,), {})]),
        (by_position, [((1, 2), {}), ((1,), {}), ((1,), {"second": 2})]),
        (itself, [((1,), {}), ((), {"self": 1}), ((1, 2), {})]),
        (otherwise, [((1,), {}), ((1, 3, 4), {}), ((), {"first": 1, "x": 2}), ((), {})]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_takes_what_they_take(function: Any, calls: list[Any]) -> None:
    """And says what they say of anything else."""

    def outcome(call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            return call(*args, **kwargs)
        except TypeError as error:
            return str(error)

    (row,) = Dispatch(main_kernel(HERE)).rows([named("call", function)])
    for args, kwargs in calls:
        assert outcome(row.replacement, args, kwargs) == outcome(function, args, kwargs)
