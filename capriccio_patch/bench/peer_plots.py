"""Pictures of a result of `bench peers`.  Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .harness.drawing import look
from .harness.reduction import middle, ratios
from .harness.runtimes import NAMES, OURS
from .peer_cases import CASES, GROWTH

__all__ = ["draw"]


def draw(result: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Write the pictures that the result has values for; their paths."""
    if result["cases"]:
        yield _save(_ratios(result), folder / "peers.svg")
    if result.get("growth"):
        yield _save(_growth(result), folder / "growth.svg")


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path)
    return path


def _ratios(result: dict[str, Any]) -> Figure:
    """Every case: this runtime's part of what a peer takes."""
    cases = [case for case in CASES if OURS in result["cases"].get(case.name, ())]
    figure = Figure(figsize=(9, 1.5 + 0.4 * len(cases)), layout="constrained")
    axes = figure.subplots()
    for peer in (name for name in NAMES if name != OURS):
        xs, ys = [], []
        for row, case in enumerate(cases):
            values = result["cases"][case.name]
            if peer in values:
                ratio = middle(ratios(values[OURS], values[peer]))
                xs.append(1 / ratio if case.more_is_better else ratio)
                ys.append(row)
        if xs:
            axes.scatter(xs, ys, **look(peer, marks=True, lines=False))
    axes.axvline(1.0, color="grey", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(cases)), [case.title for case in cases])
    axes.invert_yaxis()
    axes.set_xlabel("capriccio_patch's cost, as a part of the peer's (left is better)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    return figure


def _growth(result: dict[str, Any]) -> Figure:
    """The cost of operations beside more and more threads."""
    growth = result["growth"]
    figure = Figure(figsize=(4 * len(growth), 4), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(growth), squeeze=False)[0], growth, strict=True):
        for runtime, by_size in growth[key].items():
            sizes = sorted(by_size, key=int)
            axes.plot(
                [int(size) for size in sizes],
                [middle(by_size[size]) * 1e6 for size in sizes],
                **look(runtime, marks=True),
            )
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(GROWTH[key], fontsize="medium")
        axes.set_xlabel("threads that wait")
        axes.set_ylabel("CPU us")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
