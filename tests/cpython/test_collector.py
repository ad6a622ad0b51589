"""The collector while much is made."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from capriccio_patch.cpython.collector import NoCollections, uncollected


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
