"""The benchmarks of those who want all there is, and of what preemption costs: small runs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from capriccio_patch.bench.harness.reduction import interval


def test_fairness(bench: Any) -> None:
    done = bench(
        "fairness", "--files", "10", "--hogs", "2", "--clients", "5",
        "--rounds", "2", "--seconds", "0.1",
    )  # fmt: skip
    assert done.stderr == ""
    said = done.stdout
    assert len(re.findall(r"\n(?:alone|beside files) +median .* requests/s", said)) == 24
    assert len(re.findall(r"\n(?:capriccio|stock) +median .*, others [1-9]", said)) == 4
    ratios = re.findall(r": (\d+\.\d\d) \[\d+\.\d\d-\d+\.\d\d\]", said)
    assert len(ratios) == 15
    assert all(float(ratio) > 0 for ratio in ratios)


@pytest.mark.wall_clock
def test_overhead(bench: Any) -> None:
    done = bench(
        "overhead", "--pairs", "1", "--rounds", "1", "--seconds", "0.02", "--connections", "3"
    )
    assert done.stderr == ""
    ratios = re.findall(r": (\d\.\d{4}) \(", done.stdout)
    assert len(ratios) == 6
    assert all(0.2 < float(ratio) < 5 for ratio in ratios)


def test_the_interval_holds_the_median() -> None:
    values = [float(number) for number in range(101)]
    low, middle, high = interval(values)
    assert (low, middle, high) == (39.0, 50.0, 61.0)
    assert interval([1.0]) == (1.0, 1.0, 1.0)
    assert interval([2.0, 1.0]) == (1.0, 1.5, 2.0)
