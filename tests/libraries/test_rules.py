"""What is done for a library at its import, with a module that stands for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CURL = """
from capriccio_patch.cpython import originals

class Curl:
    def perform(self):
        return originals.get_ident()

class CurlMulti:
    def select(self, timeout):
        return originals.get_ident()
"""
HEAD = """
import capriccio_patch
from capriccio_patch.cpython import originals
here = originals.get_ident()
"""


@pytest.fixture
def library(tmp_path: Path, environ: dict[str, str]) -> dict[str, str]:
    """The environment with a `pycurl` that has not all that the real one has."""
    (tmp_path / "pycurl.py").write_text(CURL)
    return {"PYTHONPATH": f"{tmp_path}:{environ['PYTHONPATH']}"}


def test_it_is_served_when_it_is_imported(run_script: Any, library: dict[str, str]) -> None:
    run_script(
        HEAD
        + """
import sys
capriccio_patch.patch_all()
assert "pycurl" not in sys.modules
assert capriccio_patch.status()["libraries"] == {}
import pycurl
assert pycurl.Curl().perform() != here
assert pycurl.CurlMulti().select(1.0) != here
assert pycurl.CurlMulti().select(0) == here
told = "parks in pycurl.Curl.perform, pycurl.CurlMulti.select"
assert capriccio_patch.status()["libraries"] == {"pycurl": told}
assert capriccio_patch.status()["offload"] == {}
""",
        env=library,
    )


def test_a_late_patch_serves_it_and_the_undo_puts_it_back(
    run_script: Any, library: dict[str, str]
) -> None:
    run_script(
        HEAD
        + """
import pycurl
code = pycurl.Curl.perform.__code__
for _ in range(2):
    capriccio_patch.patch_all()
    assert pycurl.Curl().perform() != here
    assert "pycurl" in capriccio_patch.status()["libraries"]
    capriccio_patch.unpatch_all()
    assert pycurl.Curl.perform.__code__ is code
    assert pycurl.Curl().perform() == here
""",
        env=library,
    )


def test_nothing_is_done_when_it_is_imported_without_a_patch(
    run_script: Any, library: dict[str, str]
) -> None:
    run_script(
        HEAD
        + """
capriccio_patch.patch_all()
capriccio_patch.unpatch_all()
import pycurl
assert pycurl.Curl().perform() == here
""",
        env=library,
    )


@pytest.mark.parametrize(
    ("setting", "arguments", "why"),
    [
        ({"CAPRICCIO_NATIVE": "off"}, "", None),
        ({"CAPRICCIO_NATIVE": "-pyzmq,-pycurl"}, "", "CAPRICCIO_NATIVE leaves it out"),
        ({"CAPRICCIO_EXCLUDE": "pycurl"}, "", "only or exclude leave it out"),
        ({}, "native=['-pycurl']", "CAPRICCIO_NATIVE leaves it out"),
        ({}, "only=['time', 'threading']", "only or exclude leave it out"),
    ],
)
def test_it_is_left_alone(
    run_script: Any,
    library: dict[str, str],
    setting: dict[str, str],
    arguments: str,
    why: str | None,
) -> None:
    expected = {} if why is None else {"pycurl": why}
    run_script(
        HEAD
        + f"""
capriccio_patch.patch_all({arguments})
import pycurl
assert pycurl.Curl().perform() == here
assert capriccio_patch.status()["libraries"] == {expected}
""",
        env=library | setting,
    )


def test_one_call_is_left_alone(run_script: Any, library: dict[str, str]) -> None:
    run_script(
        HEAD
        + """
capriccio_patch.patch_all(exclude=["pycurl.Curl.perform"])
import pycurl
assert pycurl.Curl().perform() == here
assert pycurl.CurlMulti().select(1.0) != here
""",
        env=library,
    )


def test_only_a_library(run_script: Any, library: dict[str, str]) -> None:
    run_script(
        HEAD
        + """
capriccio_patch.patch_all(only=["pycurl"])
import pycurl
assert pycurl.Curl().perform() != here
assert not capriccio_patch.is_patched("time.sleep")
""",
        env=library,
    )


def test_a_failure_is_told_and_not_raised(
    run_script: Any, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "pycurl.py").write_text(
        "class Curl:\n    perform = 1\n\n    def __getattr__(self): 1"
    )
    (tmp_path / "psycopg").mkdir()
    (tmp_path / "psycopg" / "__init__.py").write_text("")
    (tmp_path / "psycopg" / "waiting.py").write_text("")
    run_script(
        HEAD
        + """
capriccio_patch.patch_all()
import pycurl, psycopg.waiting
told = capriccio_patch.status()["libraries"]
assert [*told] == ["psycopg"], told
assert told["psycopg"].startswith("AttributeError: "), told
""",
        env={"PYTHONPATH": f"{tmp_path}:{environ['PYTHONPATH']}"},
    )


def test_an_interrupt_waits_for_the_end_of_a_call(
    run_script: Any, library: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "pycurl.py").write_text(
        """
import os, signal
from capriccio_patch.cpython import originals

class Curl:
    ended = False

    def perform(self):
        os.kill(os.getpid(), signal.SIGINT)
        originals.sleep(0.05)
        self.ended = True
"""
    )
    run_script(
        HEAD
        + """
capriccio_patch.patch_all()
import pycurl
curl = pycurl.Curl()
try:
    curl.perform()
except KeyboardInterrupt:
    assert curl.ended
else:
    raise AssertionError("not interrupted")
""",
        env=library,
    )
