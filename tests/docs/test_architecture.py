"""The tree in docs/architecture.md is the tree there is."""

from __future__ import annotations

import re

from tests.conftest import ROOT
from tests.structure.tree import RUNTIME

TEXT = (ROOT / "docs" / "architecture.md").read_text()
ROOMS = re.findall(r"^\| `(\w+)` \| (.*) \|$", TEXT, re.MULTILINE)


def listed() -> set[str]:
    """Every module that the table of rooms names, by its dotted name."""
    found: set[str] = set()
    for room, modules in ROOMS:
        folder = room
        for word in re.findall(r"`([a-z0-9_]+/?)`", re.sub(r"\([^)]*\)", "", modules)):
            if word.endswith("/"):
                folder = f"{room}.{word[:-1]}"
            else:
                found.add(f"{folder}.{word}")
    return found


def test_every_module_of_a_room_is_listed() -> None:
    rooms = {room for room, _ in ROOMS}
    modules = {
        name
        for name, path in RUNTIME.items()
        if name.split(".")[0] in rooms and path.name != "__init__.py"
    }
    assert listed() == modules
