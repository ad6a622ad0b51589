"""How much of the time a search may take that is made now and then."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from capriccio_patch.diagnosis.allowance import MOST_SAVED, SHARE, Allowance


def test_what_was_saved_up_is_used_at_once() -> None:
    clock = SimpleNamespace(now=1000.0)
    allowance = Allowance(lambda: clock.now)
    assert allowance.pause_after(MOST_SAVED / 2) == 0.0
    assert allowance.pause_after(MOST_SAVED / 2) == 0.0
    pause = allowance.pause_after(0.02)
    assert pause == pytest.approx(0.02 * SHARE)
    clock.now += pause
    assert allowance.pause_after(0.01) == pytest.approx(0.01 * SHARE)


def test_no_more_is_saved_than_the_first_searches_take() -> None:
    clock = SimpleNamespace(now=1000.0)
    allowance = Allowance(lambda: clock.now)
    allowance.pause_after(MOST_SAVED)
    clock.now += 10 * MOST_SAVED * SHARE
    assert allowance.pause_after(MOST_SAVED) == 0.0
    assert allowance.pause_after(0.001) == pytest.approx(0.001 * SHARE)


def test_it_takes_its_share_of_the_time_in_the_long_run() -> None:
    clock = SimpleNamespace(now=0.0)
    allowance = Allowance(lambda: clock.now)
    used = 0.0
    while clock.now < 100_000.0:
        clock.now += max(1.0, allowance.pause_after(0.03))
        used += 0.03
    assert used == pytest.approx(clock.now / SHARE + MOST_SAVED, rel=0.01)
