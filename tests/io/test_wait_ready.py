"""Waiting for a descriptor as an OS thread does, with poll(2) and without."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from capriccio_patch.contracts.descriptor import READ, WRITE
from capriccio_patch.cpython import originals
from capriccio_patch.io.wait_ready import wait_ready


@pytest.fixture(params=["poll", "select"])
def pipe(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """(reader, writer), on a system with that facility."""
    if request.param == "select":
        monkeypatch.setattr(originals, "poll", None)
    ends = [*os.pipe()]
    yield ends
    for fd in ends:
        os.close(fd)


def test_what_is_ready_is_found(pipe: list[int]) -> None:
    reader, writer = pipe
    assert not wait_ready(reader, READ, 0)
    assert wait_ready(writer, WRITE, 0)
    os.write(writer, b"x")
    assert wait_ready(reader, READ, None)


def test_a_timeout_ends_the_wait(pipe: list[int]) -> None:
    assert not wait_ready(pipe[0], READ, 0.001)
