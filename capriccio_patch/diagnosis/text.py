"""What `snapshot` has found, as text: a table of threads, equal stacks merged, who waits for whom.

Only the data are looked at: they may come from another process.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["groups", "stacks", "summary", "table", "tree", "whole"]

Data = dict[str, "Any"]

_WIDEST = 60
_NARROWEST = 12
_NAMES = 5


def whole(data: Data) -> str:
    """A dump: the summary, the table, the stacks."""
    return "\n".join([summary(data), "", table(data), "", stacks(data)]) + "\n"


def summary(data: Data) -> str:
    """One line about the process."""
    states: dict[str, int] = {}
    for group in data["groups"]:
        states[group["state"]] = states.get(group["state"], 0) + group["count"]
    counts = ", ".join(f"{number:,} {state}" for state, number in states.items())
    idle = "idle" if data["is_idle"] else f"polled {data['polled']:.1f} s ago"
    return (
        f"process {data['pid']}: {data['threads']:,} threads ({counts}), "
        f"{data['os_threads']} OS threads of the runtime, {len(data['others'])} others; {idle}"
    )


def table(data: Data, width: int | None = None) -> str:
    """The threads one by one, or, if there are too many, the groups that do the same."""
    return _table(data, data["threads"] > len(data["rows"]), None, width)


def groups(data: Data, most: int | None = None, width: int | None = None) -> str:
    """The groups of threads that do the same, the largest first."""
    return _table(data, True, most, width)


def _table(data: Data, merged: bool, most: int | None, width: int | None) -> str:
    rows = data["groups"] if merged else data["rows"]
    who = "number" if merged else "thread"
    lines = [(who, "state", "since", "place", "waits for", "held by", "until")]
    for row in rows[:most]:
        first = f"{row['count']:,}" if merged else row["name"]
        since = row["longest"] if merged else row["since"]
        lines.append(
            (
                _cut(first),
                row["state"] + (" (on top)" if row["on_top"] else ""),
                "" if since is None else seconds(since),
                _cut(_place(row["place"])),
                _cut(_awaited(row)),
                _cut(", ".join(holder[0] for holder in row["holders"])),
                "" if row["deadline"] is None else seconds(row["deadline"]),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    if width is not None:
        _narrow(widths, width - 2 * (len(widths) - 1))
    return "\n".join(
        "  ".join(
            _cut(cell, most).ljust(most) for cell, most in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _narrow(widths: list[int], room: int) -> None:
    """Make columns fit, the widest first, as far as they can be read then."""
    while sum(widths) > room and max(widths) > _NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _awaited(row: Data) -> str:
    if row["end_of"]:
        return f"end of {row['end_of']}"
    what = row["call"] or row["kind"]
    others = "" if row.get("is_one_object", True) else " and others"
    return f"{what}: {row['object']}{others}" if row["object"] else what


def stacks(data: Data) -> str:
    """The stacks, the innermost frame last; equal ones once."""
    parts = []
    for group in data["groups"]:
        number = group["count"]
        head = f"{_who(group['names'], number)}: {group['state']}"
        if group["state"] in ("waiting", "in a call"):
            head += f" for {_awaited(group)}, {seconds(group['shortest'])}"
            if number > 1 and seconds(group["longest"]) != seconds(group["shortest"]):
                head += f" to {seconds(group['longest'])}"
        parts.append("\n".join([head, *_held(group), *_frames(group["stack"])]))
    parts += [
        "\n".join([f"{other['name']}: an OS thread of the program's", *_frames(other["stack"])])
        for other in data["others"]
    ]
    return "\n\n".join(parts)


def _held(row: Data) -> list[str]:
    lines = []
    for name, file, line, function, is_sure, _ in row["holders"]:
        seems = "" if is_sure else "seems to be "
        where = f" since {file.rpartition('/')[2]}:{line}, in {function}" if line else ""
        lines.append(f"  {seems}held by {name}{where}")
    return lines


def _frames(stack: list[Any]) -> list[str]:
    return [f'  File "{file}", line {line}, in {name}' for file, line, name in reversed(stack)]


def tree(data: Data) -> str:
    """Who waits for whom: below each thread those that wait for it.

    Threads that nobody waits for and that wait for no thread are one line, if they do the same;
    where there are too many, so are all that do the same at the same place.
    """
    is_merged = data["threads"] > len(data["rows"])
    rows = data["groups"] if is_merged else data["rows"]
    waiting: dict[int, list[Data]] = {}
    for row in rows:
        for ident in _waited_for(row):
            waiting.setdefault(ident, []).append(row)
    lines: list[str] = []
    drawn: set[int] = set()

    def draw(row: Data, indent: str, path: frozenset[int]) -> None:
        loop = " (a circle)" if row["ident"] in path else ""
        who = _who(row["names"], row["count"]) if is_merged else row["name"]
        lines.append(f"{indent}{who}: {row['state']} {_awaited(row)}".rstrip() + loop)
        drawn.add(row["ident"])
        if not loop and len(path) < _WIDEST:
            for other in waiting.get(row["ident"], ()):
                draw(other, indent + "    ", path | {row["ident"]})

    alone: dict[str, list[Data]] = {}
    for row in rows:
        if not _waited_for(row):
            if is_merged or row["ident"] in waiting:
                draw(row, "", frozenset())
            else:
                alone.setdefault(f"{row['state']} {_awaited(row)}".rstrip(), []).append(row)
    for what, group in alone.items():
        names = [row["name"] for row in group]
        lines.append(f"{_who(names, len(names))}: {what}")
        drawn.update(row["ident"] for row in group)
    for row in rows:
        if row["ident"] not in drawn:
            draw(row, "", frozenset())
    return "\n".join(lines)


def _waited_for(row: Data) -> list[int]:
    """The threads that could end a wait."""
    return [row["ends"]] if row["ends"] is not None else [held[-1] for held in row["holders"]]


def _who(names: list[str], number: int) -> str:
    """Threads, by their names as far as there is room."""
    if number == 1:
        return names[0]
    return f"{number:,} threads ({', '.join(names[:_NAMES])}{', ...' if number > _NAMES else ''})"


def seconds(value: float) -> str:
    """A duration, short."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(int(value), 60)
    return (
        f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
    )


def _place(place: list[Any]) -> str:
    file, line, function = place
    return f"{file.rpartition('/')[2]}:{line} {function}" if file else ""


def _cut(text: str, most: int = _WIDEST) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
