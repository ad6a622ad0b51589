"""``time.sleep``."""

from __future__ import annotations

import os
import signal
import threading
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from capriccio_patch import original
from capriccio_patch.cpython import originals
from tests.conftest import Ticker

pytestmark = pytest.mark.usefixtures("patched")


class Index:
    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Float:
    def __float__(self) -> float:
        return 0.001


class Stop(Exception):
    pass


def test_others_run() -> None:
    def stop(signum: int, frame: Any) -> None:
        raise Stop

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with (
            Ticker().at(5, lambda: os.kill(os.getpid(), signal.SIGUSR1)),
            pytest.raises(Stop),
        ):
            time.sleep(60)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("seconds", [0.001, 0.0101, 0.025])
def test_never_shorter(seconds: float) -> None:
    for _ in range(5):
        before = time.monotonic()
        assert time.sleep(seconds) is None
        assert time.monotonic() - before >= seconds


def test_of_nothing_lets_everybody_run_once() -> None:
    order: list[str] = []
    for name in "abc":
        threading.Thread(target=lambda name=name: order.append(name)).start()  # type: ignore[misc]
    time.sleep(0)
    order.append("main")
    assert order == ["a", "b", "c", "main"]


def test_in_the_order_of_the_deadlines() -> None:
    """A sleep begins between the look at the clock before it and the return to the main thread."""
    begun: dict[int, float] = {}
    order: list[int] = []

    def sleep(number: int) -> None:
        begun[number] = time.monotonic()
        time.sleep(number / 100)
        order.append(number)

    threads = [threading.Thread(target=sleep, args=(number,)) for number in (9, 3, 7, 1, 5)]
    for thread in threads:
        thread.start()
    while len(begun) < len(threads):
        time.sleep(0)
    latest = time.monotonic()
    for thread in threads:
        thread.join()
    for place, number in enumerate(order):
        for later in order[place + 1 :]:
            assert begun[number] + number / 100 <= latest + later / 100


@pytest.mark.parametrize("seconds", [0, 0.0, -0.0, 1e-9, False, Index(0)])
def test_accepted(seconds: Any) -> None:
    assert time.sleep(seconds) is None


@pytest.mark.parametrize(
    "args",
    [
        (-1,),
        (-1e-9,),
        (Index(-1),),
        (float("nan"),),
        (float("inf"),),
        (float("-inf"),),
        (1e300,),
        (2**63,),
        (10**400,),
        ("1",),
        (None,),
        (Decimal("0.1"),),
        (Fraction(1, 10),),
        (1j,),
        (Float(),),
        (),
        (1, 2),
    ],
    ids=repr,
)
def test_refused_as_by_stock(args: tuple[Any, ...]) -> None:
    try:
        originals.sleep(*args)
    except (ValueError, TypeError, OverflowError) as error:
        expected = error
    else:
        assert time.sleep(*args) is None  # a real number, which CPython 3.15 takes
        return
    with pytest.raises((ValueError, TypeError, OverflowError)) as found:
        time.sleep(*args)
    assert type(found.value) is type(expected)
    if len(args) == 1:
        assert str(found.value) == str(expected)


def test_keywords_are_refused() -> None:
    with pytest.raises(TypeError):
        time.sleep(secs=1)  # type: ignore[call-arg]


def test_an_os_thread_sleeps_by_itself() -> None:
    slept: list[float] = []

    def run() -> None:
        before = time.monotonic()
        time.sleep(0.02)
        slept.append(time.monotonic() - before)

    original("_thread.start_new_thread")(run, ())
    with Ticker():
        while not slept:
            time.sleep(0.001)
    assert slept[0] >= 0.02
