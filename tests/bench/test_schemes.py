"""The benchmark of the socket I/O schemes: it measures each, and says what it leaves out."""

from __future__ import annotations

from typing import Any

import pytest

import capriccio_patch


@pytest.mark.wall_clock
def test_a_small_run(bench: Any) -> None:
    schemes = [n for n, reason in capriccio_patch.available_backends().items() if reason is None]
    done = bench(
        "schemes", "--connections", "3", "--idle", "20", "--rounds", "2", "--seconds", "0.02",
        "--schemes", ",".join(schemes),
    )  # fmt: skip
    assert done.stderr.startswith("3 asking: ")
    header, _, *rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert header == "| scheme | 3 asking | 1 asking, 20 idle |"
    assert [row.split("`")[1] for row in rows] == schemes
    for row in rows:
        for cell in row.split("|")[2:4]:
            assert 1 < float(cell.split()[0]) < 10_000


def test_a_scheme_that_can_not_be_measured(bench: Any) -> None:
    done = bench("schemes", "--schemes", "nonsense", status=2)
    assert done.stdout == ""
    assert done.stderr == "nonsense: it is unknown\n"
