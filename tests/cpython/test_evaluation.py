"""What is imported beside the end of the program does not change how it ends."""

from __future__ import annotations

import collections
import importlib
import signal
import subprocess
import sys

import pytest

from capriccio_patch.cpython.evaluation import texts_compiled

AT_THE_END = """
import atexit, collections, sys
from capriccio_patch.cpython.evaluation import texts_compiled
from capriccio_patch.cpython.modules import standard
{before}
atexit.register({late})
raise KeyboardInterrupt
"""
AFRESH = "del sys.modules['collections'], collections\nsys.modules.pop('difflib', None)"
MADE = "def make():\n    with texts_compiled:\n        collections.namedtuple('Made', 'a b')"


@pytest.mark.skipif(sys.platform == "win32", reason="no death by a signal")
@pytest.mark.parametrize(
    ("before", "late"),
    [
        pytest.param(MADE, "make", id="a named tuple"),
        pytest.param("", "standard, 'difflib'", id="a module"),
        pytest.param(AFRESH, "standard, 'difflib'", id="collections as well"),
    ],
)
def test_an_interrupt_that_ends_the_program(
    before: str, late: str, environ: dict[str, str]
) -> None:
    code = AT_THE_END.format(before=before, late=late)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, timeout=60
    )
    assert done.returncode == -signal.SIGINT, done.stderr


def test_named_tuples_are_as_ever() -> None:
    with texts_compiled:
        with texts_compiled:
            pass
        made = collections.namedtuple("made", "a b", defaults=[2])  # noqa: PYI024
    assert made(1) == (1, 2)
    assert "eval" not in vars(collections)


def test_collections_may_be_imported_within(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "collections")
    with texts_compiled:
        anew = importlib.import_module("collections")
        with texts_compiled:
            made = anew.namedtuple("made", "a b")
    assert made(1, 2) == (1, 2)
    assert "eval" not in vars(anew)
