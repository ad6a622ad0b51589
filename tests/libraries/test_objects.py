"""What is loaded, by name, and what it needs."""

from __future__ import annotations

from typing import Any

from capriccio_patch.libraries.objects import Object, Objects


class _Core:
    """Stands for the C module: it tells what it is given."""

    def __init__(self) -> None:
        self.removals = 0
        self.rows: list[tuple[str, int, str, list[str]]] = []

    def libc_objects(self, number: int, removals: int) -> tuple[int, list[Any]]:
        """As core/libc_objects.c."""
        return self.removals, self.rows[number if removals == self.removals else 0 :]


def _names(objects: Objects, root: Object | None, but: str = "") -> list[str]:
    assert root is not None
    return sorted(each.name for each in objects.with_needed(root, lambda each: each.name != but))


def test_what_is_loaded_later_is_added_and_what_is_gone_is_forgotten() -> None:
    core = _Core()
    core.rows = [("", 0, "", ["libc.so.6"]), ("/lib/libc.so.6", 1, "libc.so.6", [])]
    objects = Objects(core)
    objects.update()
    assert objects.at("/lib/a.so") is None
    core.rows += [
        ("/lib/a.so", 2, "", ["libb.so.1", "libc.so.6"]),
        ("/lib/libb.so.1.2", 3, "libb.so.1", ["a.so", "missing.so"]),
    ]
    objects.update()
    assert _names(objects, objects.at("/lib/a.so")) == ["a.so", "libb.so.1.2", "libc.so.6"]
    assert _names(objects, objects.at("/lib/a.so"), but="libb.so.1.2") == ["a.so", "libc.so.6"]
    del core.rows[2:]
    core.removals = 2
    objects.update()
    assert objects.removals == 2
    assert objects.at("/lib/a.so") is None
    assert objects.at("/lib/libc.so.6") is not None


def test_a_file_is_found_by_its_other_name(tmp_path: Any) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.so").write_bytes(b"")
    (tmp_path / "link").symlink_to("real")
    core = _Core()
    core.rows = [(str(tmp_path / "real" / "a.so"), 1, "", [])]
    objects = Objects(core)
    objects.update()
    found = objects.at(str(tmp_path / "link" / "a.so"))
    assert found is not None
    assert found.address == 1
