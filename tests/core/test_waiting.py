"""What C is told of locks, conditions and queues, and that it looks before it relies on it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import MethodDescriptorType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.core import table, waiting
from capriccio_patch.cpython import originals


@pytest.fixture
def core() -> Any:
    """The module of C."""
    return pytest.importorskip("capriccio_patch.core._core")


@pytest.fixture
def compiled(core: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A patch whose rows are C's."""
    monkeypatch.setenv("CAPRICCIO_CORE", "compiled")
    capriccio_patch.patch_all()
    yield
    capriccio_patch.unpatch_all()


def test_every_function_of_c_is_of_a_subject(core: Any) -> None:
    words = {name.partition("_")[0] for name in table.METHODS.values()}
    assert set(waiting.SUBJECTS) <= words


@pytest.mark.parametrize(
    ("cls", "names"),
    [
        (originals.LockType, "acquire __enter__ release __exit__"),
        (originals.RLockType, "acquire __enter__ release __exit__ _is_owned _release_save"),
        (threading.Condition, "wait notify __enter__ __exit__"),
        (threading.Event, "wait set clear"),
        (queue.Queue, "put get"),
        (queue.SimpleQueue, "put get"),
    ],
)
def test_the_rows_are_methods_of_c(compiled: None, cls: Any, names: str) -> None:
    for name in names.split():
        assert type(vars(cls)[name]) is MethodDescriptorType
        assert vars(cls)[name].__objclass__ is cls


def test_a_lock_of_another_layout_is_refused(core: Any) -> None:
    acquire, release = originals.lock_acquire, originals.lock_release
    rlock = originals.RLockType(), originals.rlock_acquire, originals.rlock_release
    core.try_locks(originals.allocate_lock(), acquire, release, *rlock)
    with pytest.raises(SystemError, match="layout of locks"):
        core.try_locks(object(), acquire, release, *rlock)
    taken = originals.allocate_lock()
    taken.acquire()
    with pytest.raises(SystemError, match="layout of locks"):
        core.try_locks(taken, acquire, release, *rlock)


def test_a_method_that_is_kept_outlives_the_patch(core: Any) -> None:
    """What the program has bound goes on with the same objects, by what there was before."""
    lock, rlock, event = threading.Lock(), threading.RLock(), threading.Event()
    items: queue.Queue[int] = queue.Queue()
    simple: queue.SimpleQueue[int] = queue.SimpleQueue()
    capriccio_patch.patch_all()
    try:
        kept = [(each.acquire, each.release) for each in (lock, rlock, threading.Condition(rlock))]
        put, get, set_, wait = items.put, items.get, event.set, event.wait
        simple_put, simple_get = simple.put, simple.get
    finally:
        capriccio_patch.unpatch_all()
    for acquire, release in kept:
        assert acquire()
        release()
        with pytest.raises(RuntimeError):
            release()
    put(1)
    simple_put(2)
    assert (get(), simple_get()) == (1, 2)
    set_()
    assert wait()


def test_an_rlock_that_is_held_stays_held(compiled: None) -> None:
    """Its owner is the thread that patches, before, while and after."""
    lock: Any = threading.RLock()
    capriccio_patch.unpatch_all()
    with lock:
        capriccio_patch.patch_all()
        assert lock._is_owned()
        with lock:
            seen: list[bool] = []
            thread = threading.Thread(target=lambda: seen.append(lock.acquire(blocking=False)))
            thread.start()
            thread.join()
            assert seen == [False]
            capriccio_patch.unpatch_all()
        assert lock._is_owned()
    assert not lock._is_owned()
    capriccio_patch.patch_all()


def test_a_queue_whose_methods_are_replaced(
    compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    items: queue.Queue[int] = queue.Queue()
    items.put(1)
    seen: list[int] = []
    stock = queue.Queue._put  # type: ignore[attr-defined]

    def put(self: Any, item: int) -> None:
        seen.append(item)
        stock(self, item)

    monkeypatch.setattr(queue.Queue, "_put", put)
    items.put(2)
    monkeypatch.undo()
    items.put(3)
    assert seen == [2]
    assert [items.get() for _ in range(3)] == [1, 2, 3]
    assert items.unfinished_tasks == 3


def test_a_notification_counts_green_and_other_waiters(compiled: None) -> None:
    """C wakes its own, and leaves the rest of the count to the standard library."""
    condition = threading.Condition()
    woken: list[str] = []

    def wait(name: str) -> None:
        with condition:
            condition.wait()
            woken.append(name)

    threads = [threading.Thread(target=wait, args=(name,)) for name in "abc"]
    for thread in threads[:1]:
        thread.start()
    while len(condition._waiters) < 1:  # type: ignore[attr-defined]
        threading.Event().wait(0.001)
    outside = originals.allocate_lock()
    outside.acquire()
    condition._waiters.append(outside)  # type: ignore[attr-defined]
    for thread in threads[1:]:
        thread.start()
    while len(condition._waiters) < 4:  # type: ignore[attr-defined]
        threading.Event().wait(0.001)
    with condition:
        condition.notify(3)
    threads[0].join()
    threads[1].join()
    assert woken == ["a", "b"]
    assert not outside.locked()
    with condition:
        condition.notify()
    threads[2].join()


def _as_made(items: queue.Queue[int]) -> None:
    """Its attributes lie beside it."""


def _shown(items: queue.Queue[int]) -> None:
    vars(items)["shown"] = True


def _shown_and_full(items: queue.Queue[int]) -> None:
    vars(items).update({f"more_{number}": number for number in range(50)})


def _in_another_dictionary(items: queue.Queue[int]) -> None:
    items.__dict__ = dict(vars(items))


@pytest.mark.parametrize("treat", [_as_made, _shown, _shown_and_full, _in_another_dictionary])
def test_attributes_are_found_wherever_they_are(compiled: None, treat: Any) -> None:
    items: queue.Queue[int] = queue.Queue()
    treat(items)
    before = vars(items) if treat is not _as_made else None
    for number in range(3):
        items.put(number)
    assert items.unfinished_tasks == 3
    assert before is None or before["unfinished_tasks"] == 3
    assert [items.get() for _ in range(3)] == [0, 1, 2]
    del items.unfinished_tasks
    with pytest.raises(AttributeError, match="unfinished_tasks"):
        items.put(4)


def test_a_property_of_the_class_goes_before_what_an_instance_has(
    compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = threading.Event()
    event.set()
    assert event.wait()
    looks: list[Any] = []

    def flag(self: Any) -> bool:
        looks.append(self)
        return True

    def set_flag(self: Any, value: Any) -> None:
        looks.append(value)

    monkeypatch.setattr(threading.Event, "_flag", property(flag, set_flag), raising=False)
    event.clear()
    assert event.wait()
    assert looks == [False, event]
    monkeypatch.undo()
    assert event.wait(0)  # as it was before
    event.clear()
    assert not event.is_set()


def test_an_event_whose_attributes_are_shown_is_set_for_all(compiled: None) -> None:
    event = threading.Event()
    state = vars(event)
    event.set()
    assert state["_flag"] is True
    event.clear()
    assert state["_flag"] is False
