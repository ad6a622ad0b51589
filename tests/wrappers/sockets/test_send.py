"""Sending parks one thread and behaves as stock does."""

from __future__ import annotations

import array
import os
from typing import Any

import pytest

from tests.wrappers.sockets.running import run_all


def test_sendall_of_more_than_fits_lets_others_run(scheme: str, pair: Any) -> None:
    left, right = pair
    data = bytes(range(256)) * 40_000

    def read() -> bytes:
        got = bytearray()
        while len(got) < len(data):
            got += right.recv(65536)
        return bytes(got)

    _, got = run_all(lambda: left.sendall(data), read)
    assert got == data


@pytest.mark.parametrize("kind", ["send", "sendmsg"])
def test_a_blocking_send_sends_everything(scheme: str, pair: Any, kind: str) -> None:
    left, right = pair
    data = b"x" * 10_000_000

    def read() -> int:
        count = 0
        while count < len(data):
            count += len(right.recv(1 << 16))
        return count

    def write() -> int:
        if kind == "send":
            return left.send(data)  # type: ignore[no-any-return]
        return left.sendmsg([data[:1000], array.array("i", bytes(4000)), data[5000:]])  # type: ignore[no-any-return]

    assert run_all(write, read) == [len(data), len(data)]


def test_two_that_send_all_do_not_mix(scheme: str, pair: Any) -> None:
    left, right = pair
    size = 3_000_000

    def read() -> bytes:
        got = bytearray()
        while len(got) < 2 * size:
            got += right.recv(65536)
        return bytes(got)

    got = run_all(read, lambda: left.sendall(b"a" * size), lambda: left.sendall(b"b" * size))[0]
    assert got.count(b"ab") + got.count(b"ba") == 1


def test_sendfile(scheme: str, pair: Any, tmp_path: Any) -> None:
    left, right = pair
    path = tmp_path / "file"
    data = os.urandom(3_000_000)
    path.write_bytes(data)

    def send() -> int:
        with path.open("rb") as file:
            return left.sendfile(file)  # type: ignore[no-any-return]

    def read() -> bytes:
        got = bytearray()
        while len(got) < len(data):
            got += right.recv(65536)
        return bytes(got)

    count, got = run_all(send, read)
    assert count == len(data)
    assert got == data
