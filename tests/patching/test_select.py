"""Which rows ``only`` and ``exclude`` leave."""

from __future__ import annotations

from typing import Any

import pytest

from capriccio_patch import ConfigError
from capriccio_patch.config import Settings
from capriccio_patch.patching.select import Selection
from capriccio_patch.wrappers.base import Late, Patch

ROWS = [
    Patch("time", "time", "sleep", None),
    Patch("socket", "_socket", "socket.recv", None),
    Patch("socket", "_socket", "socket.recv_into", None),
    Patch("os", "posix", "read", None),
]
LATE = [Late("ssl", "_ssl", list)]


def wanted(**settings: Any) -> list[str]:
    """The names of the rows that are left."""
    selection = Selection(Settings.load({}, **settings), ROWS, LATE)
    return [row.name for row in ROWS if selection.wants(row)]


@pytest.mark.parametrize(
    ("only", "names"),
    [
        (None, ["time.sleep", "_socket.socket.recv", "_socket.socket.recv_into", "posix.read"]),
        (["time"], ["time.sleep"]),
        (["time.sleep", "os.read"], ["time.sleep", "posix.read"]),
        (["posix"], ["posix.read"]),
        (["socket.socket.recv"], ["_socket.socket.recv"]),
        (["_socket.socket"], ["_socket.socket.recv", "_socket.socket.recv_into"]),
        (["ssl"], []),
        (["_ssl.SSLSocket.read"], []),
    ],
)
def test_only(only: list[str] | None, names: list[str]) -> None:
    assert wanted(only=only) == names


def test_exclude_goes_before_only() -> None:
    left = wanted(only="socket,time", exclude="socket.socket.recv")
    assert left == ["time.sleep", "_socket.socket.recv_into"]


@pytest.mark.parametrize("name", ["tim", "time.slee", "socket.socket.rec", "sslx", "nothing.here"])
@pytest.mark.parametrize("where", ["only", "exclude"])
def test_a_name_that_is_none(where: str, name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        wanted(**{where: [name]})


def test_groups_are_those_of_one_patch() -> None:
    one = Selection(Settings.load({}), ROWS, LATE)
    other = Selection(Settings.load({}), ROWS[:1], LATE)
    one.add(Patch("ssl", "_ssl", "SSLSocket.read", None))
    assert one.group("ssl") == ["_ssl.SSLSocket.read"]
    assert one.group("socket") == ["_socket.socket.recv", "_socket.socket.recv_into"]
    assert other.group("ssl") == other.group("socket") == []
