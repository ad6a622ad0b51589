"""What is shown of the threads of a program, from the data alone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from capriccio_patch.diagnosis import text


def ident_of(name: str) -> int:
    return sum(map(ord, name))


def row(name: str, **more: Any) -> dict[str, Any]:
    return {
        "ident": ident_of(name),
        "name": name,
        "state": "waiting",
        "on_top": False,
        "kind": "lock",
        "call": "lock.acquire",
        "object": "Lock at 0x1",
        "end_of": "",
        "ends": None,
        "holders": [],
        "since": 2.0,
        "deadline": None,
        "place": ["/app/bank.py", 12, "transfer"],
        "count": 1,
        "names": [name],
        "shortest": 2.0,
        "longest": 2.0,
        "stack": [["/app/bank.py", 12, "transfer"], ["/app/bank.py", 3, "main"]],
    } | more


def data(*rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "pid": 7,
        "threads": sum(row["count"] for row in rows),
        "os_threads": 1,
        "polled": 3.25,
        "is_idle": False,
        "rows": list(rows),
        "groups": list(rows),
        "others": [{"ident": 1, "name": "native", "stack": [["/app/c.py", 1, "run"]]}],
    }


def held_by(name: str, is_sure: bool = True) -> list[Any]:
    return [[name, "/app/bank.py", 9, "refund", is_sure, ident_of(name)]]


def test_the_summary_counts() -> None:
    assert text.summary(data(row("a"), row("b", state="running"))) == (
        "process 7: 2 threads (1 waiting, 1 running), 1 OS threads of the runtime, 1 others; "
        "polled 3.2 s ago"
    )


def test_the_table_has_what_one_asks_for() -> None:
    lines = text.table(data(row("a", holders=held_by("b"), deadline=90.0))).splitlines()
    heads = ["thread", "state", "since", "place", "waits for", "held by", "until"]
    assert re.split(r"  +", lines[0]) == heads
    for each in ("a ", "lock.acquire: Lock at 0x1", " b ", "2.0 s", "1:30", "bank.py:12 transfer"):
        assert each in lines[1]


def test_groups_come_where_there_are_too_many() -> None:
    many = data(row("a", count=5000, longest=4000.0))
    many["rows"] = []
    assert "number" in text.table(many)
    assert "5,000" in text.table(many)
    assert "1:06:40" in text.table(many)
    assert "Lock at 0x1 and others" not in text.table(many)
    many["groups"][0]["is_one_object"] = False
    assert "Lock at 0x1 and others" in text.table(many)


@pytest.mark.parametrize(
    ("is_sure", "word"), [(True, "held by b"), (False, "seems to be held by b")]
)
def test_stacks_are_merged(is_sure: bool, word: str) -> None:
    shown = text.stacks(
        data(
            row(
                "a",
                count=4812,
                names=["a", "c", "d", "e", "f"],
                longest=9.0,
                holders=held_by("b", is_sure),
            )
        )
    )
    assert shown.startswith(
        "4,812 threads (a, c, d, e, f, ...): waiting for lock.acquire: Lock at 0x1, "
        "2.0 s to 9.0 s\n"
    )
    assert f"{word} since bank.py:9, in refund" in shown
    assert shown.index("line 3, in main") < shown.index("line 12, in transfer")
    assert "native: an OS thread of the program's" in shown


def test_the_tree_shows_who_waits_for_whom() -> None:
    shown = text.tree(
        data(
            row("a", kind="sleep", object="", call=""),
            row("b", holders=held_by("a")),
            row("c", end_of="b", ends=ident_of("b")),
        )
    )
    assert shown.splitlines() == [
        "a: waiting sleep",
        "    b: waiting lock.acquire: Lock at 0x1",
        "        c: waiting end of b",
    ]


def test_a_circle_in_the_tree_ends() -> None:
    shown = text.tree(data(row("a", holders=held_by("b")), row("b", holders=held_by("a"))))
    assert shown.count("(a circle)") == 1


def test_the_tree_tells_threads_of_one_name_apart() -> None:
    one, other = row("worker"), row("worker", ident=1)
    other["holders"] = [["worker", "", 0, "", True, ident_of("worker")]]
    assert text.tree(data(one, other)).splitlines() == [
        "worker: waiting lock.acquire: Lock at 0x1",
        "    worker: waiting lock.acquire: Lock at 0x1",
    ]


def test_who_does_the_same_alone_is_one_line_of_the_tree() -> None:
    sleepers = [row(name, kind="sleep", object="", call="") for name in "abcdefg"]
    shown = text.tree(data(*sleepers, row("x", holders=held_by("b"))))
    assert shown.splitlines() == [
        "b: waiting sleep",
        "    x: waiting lock.acquire: Lock at 0x1",
        "6 threads (a, c, d, e, f, ...): waiting sleep",
    ]


def test_the_tree_has_groups_where_there_are_too_many() -> None:
    many = data(row("a", count=5000, names=list("abcde"), holders=held_by("x")), row("x"))
    many["rows"] = many["rows"][1:]
    assert text.tree(many).splitlines() == [
        "x: waiting lock.acquire: Lock at 0x1",
        "    5,000 threads (a, b, c, d, e, ...): waiting lock.acquire: Lock at 0x1",
    ]


def test_a_table_fits_a_terminal() -> None:
    long = row(
        "a", object="x" * 70, place=["/app/bank.py", 12, "y" * 70], holders=held_by("z" * 70)
    )
    for width in (200, 120, 80):
        lines = text.table(data(long), width).splitlines()
        assert max(map(len, lines)) <= width
        assert lines[0].split()[-1] == "until"
    assert "…" in lines[1]
