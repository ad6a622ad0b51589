"""The table of libraries is consistent, and names what the libraries have."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from capriccio_patch.libraries.table import TABLE
from tests.libraries.conftest import needs

CALLS = [(each.name, calls) for each in TABLE for calls in each.calls]


def test_each_library_is_there_once_and_something_is_done_for_it() -> None:
    assert len({each.name for each in TABLE}) == len(TABLE)
    assert all(each.modules() for each in TABLE)
    assert all(bool(each.adapter) == bool(each.adapted) for each in TABLE)


def test_adapters_are_modules_of_the_room() -> None:
    for each in TABLE:
        if each.adapter:
            assert callable(import_module(f"capriccio_patch.libraries.{each.adapter}").patches)


def test_no_call_is_named_twice() -> None:
    names = [f"{calls.module}.{name}" for _, calls in CALLS for name in calls.names]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("name", "calls"), CALLS, ids=[f"{n}-{c.module}" for n, c in CALLS])
def test_an_installed_library_has_the_calls(run_script: Any, name: str, calls: Any) -> None:
    if find_spec(calls.module.partition(".")[0]) is None:
        pytest.skip(f"not installed: {name}")
    run_script(
        f"""
        import capriccio_patch
        capriccio_patch.patch_all()
        import {calls.module}
        served = capriccio_patch.status()["libraries"][{name!r}]
        missing = [
            each
            for each in {calls.names}
            if f"{calls.module}.{{each}}" not in served.replace(",", " ").split()
        ]
        assert not missing, missing
        """,
        env={"CAPRICCIO_CORE": "python"},
    )


@needs("zmq")
def test_nothing_is_imported_for_a_library_that_is_not_used(run_script: Any) -> None:
    run_script(
        """
        import sys
        import capriccio_patch
        capriccio_patch.patch_all()
        assert "zmq" not in sys.modules
        assert "capriccio_patch.libraries.pyzmq" not in sys.modules
        """
    )
