"""The figures, drawn by matplotlib into PNG files.

One colour and one kind of line stand for one runtime in all of them.  Grey is what the figure is
read against: the ideal, and the time in which clients still begin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from . import limits
from .harness.drawing import look
from .results import rates

_DELAY_COLOURS = ("#9ecae1", "#4292c6", "#08519c", "#f6a04d", "#d9480f", "#7f2704")
_GREY = "#8a8a8a"
_DPI = 80

Record = dict[str, Any]


def requests(folder: Path, name: str, by_size: dict[int, list[Record]]) -> Path:
    """Requests per second over time, a panel for each number of threads."""

    def draw(axes: Axes, record: Record) -> None:
        _over_time(axes, record, rates(record, "answers"))

    def ideal(axes: Axes, record: Record) -> None:
        if record["delay"]:
            _level(axes, record["threads"] / record["delay"], "threads / delay")

    return _panels(folder / name, by_size, "requests/s", draw, ideal)


def connections(folder: Path, name: str, by_size: dict[int, list[Record]]) -> Path:
    """Open connections over time, a panel for each number of threads."""

    def draw(axes: Axes, record: Record) -> None:
        _over_time(axes, record, record["columns"]["open"])

    def ideal(axes: Axes, record: Record) -> None:
        _level(axes, record["threads"], "one for each thread")

    return _panels(folder / name, by_size, "open connections", draw, ideal)


def throughput(folder: Path, name: str, by_size: dict[int, list[Record]]) -> Path:
    """All answers since the beginning over time, a panel for each number of threads."""

    def draw(axes: Axes, record: Record) -> None:
        _over_time(axes, record, record["columns"]["answers"])

    def ideal(axes: Axes, record: Record) -> None:
        if not record["delay"]:
            return
        rate = record["threads"] / record["delay"]
        end = max(record["columns"]["second"], default=record["duration"])
        start = record["ramp"] / 2 + record["delay"]
        axes.plot(
            [start, end],
            [0, rate * (end - start)],
            color=_GREY,
            linestyle=(0, (1, 1)),
            label="threads / delay",
        )

    return _panels(folder / name, by_size, "answers so far", draw, ideal)


def delays(folder: Path, name: str, records: Sequence[Record]) -> Path:
    """Open connections, and requests per second, over time: a line for each delay."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for record, colour in zip(records, _DELAY_COLOURS * 9, strict=False):
        label = f"{record['delay']:g} s"
        seconds = record["columns"]["second"]
        left.plot(seconds, record["columns"]["open"], color=colour, label=label)
        right.plot(seconds, rates(record, "answers"), color=colour, label=label)
    if records:
        _level(left, records[0]["threads"], "threads")
    _finish(left, "open connections", "Open connections by delay")
    _finish(right, "requests/s", "Requests per second by delay")
    left.legend(title="delay", fontsize=8)
    right.legend(title="delay", fontsize=8)
    return _save(figure, folder / name)


def server(folder: Path, name: str, records: Sequence[Record]) -> Path:
    """What vmstat would show of the server, for the runs of one size."""
    figure = Figure(figsize=(11, 6.6), layout="constrained")
    grid = figure.subplots(2, 3).flat
    panels: list[tuple[str, str, Callable[[Record], Sequence[float]]]] = [
        ("CPU of the server, user and system", "% of one CPU", _server_cpu),
        ("Context switches of the server", "switches/s", lambda it: rates(it, "switches")),
        (
            "Memory of the server, with page tables",
            "MiB",
            lambda it: [
                (memory + tables) / (1 << 20)
                for memory, tables in zip(
                    it["columns"]["memory"], it["columns"]["page_tables"], strict=True
                )
            ],
        ),
        ("OS threads of the server", "OS threads", lambda it: it["columns"]["os_threads"]),
        ("Descriptors of the server", "descriptors", lambda it: it["columns"]["descriptors"]),
        (
            "Run queue of the whole machine",
            "tasks",
            lambda it: it["columns"].get("run_queue") or [math.nan] * len(it["columns"]["second"]),
        ),
    ]
    for axes, (title, unit, values) in zip(grid, panels, strict=True):
        for record in records:
            _over_time(axes, record, values(record))
        _finish(axes, unit, title)
    figure.axes[0].legend(fontsize=8)
    return _save(figure, folder / name)


def created(folder: Path, name: str, results: Sequence[Record]) -> Path:
    """How much memory and CPU time it takes to have so many threads."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for found in results:
        steps = [step for step in found["steps"] if step["threads"]]
        if not steps:
            continue
        style = look(found["runtime"], marks=True) | {"markersize": 4}
        numbers = [step["threads"] for step in steps]
        memory = [limits.each(found, step) * step["threads"] / (1 << 20) for step in steps]
        left.plot(numbers, memory, **style)
        right.plot(numbers, [step["cpu"] for step in steps], **style)
    for axes, unit, title in (
        (left, "MiB", "Memory of so many threads"),
        (right, "seconds of CPU", "CPU time to create so many threads"),
    ):
        axes.set_xscale("log")
        axes.set_yscale("log")
        _finish(axes, unit, title)
        axes.set_xlabel("threads that wait")
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8)
    return _save(figure, folder / name)


def _server_cpu(record: Record) -> list[float]:
    both = zip(rates(record, "server_user"), rates(record, "server_system"), strict=True)
    return [100 * (user + system) for user, system in both]


def _panels(
    path: Path,
    by_size: dict[int, list[Record]],
    unit: str,
    draw: Callable[[Axes, Record], None],
    ideal: Callable[[Axes, Record], None],
) -> Path:
    columns = min(2, len(by_size))
    rows = -(-len(by_size) // columns)
    figure = Figure(figsize=(5.5 * columns, 3.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (size, records) in zip(grid, by_size.items(), strict=False):
        ideal(axes, records[0])
        for record in records:
            draw(axes, record)
        axes.axvspan(0, records[0]["warm"], color=_GREY, alpha=0.12, linewidth=0)
        _finish(axes, unit, f"{size:,} threads, a delay of {records[0]['delay']:g} s")
        axes.legend(fontsize=8, loc="best")
    for axes in grid:
        axes.remove()
    return _save(figure, path)


def _over_time(axes: Axes, record: Record, values: Sequence[float]) -> None:
    axes.plot(record["columns"]["second"], values, linewidth=1.6, **look(record["runtime"]))


def _level(axes: Axes, value: float, label: str) -> None:
    axes.axhline(value, color=_GREY, linestyle=(0, (1, 1)), linewidth=1.4, label=label)


def _finish(axes: Axes, unit: str, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_ylabel(unit)
    axes.set_xlabel("seconds since the clients begin")
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    axes.grid(True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _short(value: float, _: object) -> str:
    """A number on an axis, in few characters."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:g}"


def _save(figure: Figure, path: Path) -> Path:
    figure.savefig(path, dpi=_DPI)
    return path
