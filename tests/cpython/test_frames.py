"""Whose frame it is hangs on the package and on registered code, not on the names of functions."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.cpython import frames
from capriccio_patch.preemption.safe_point import Point, point

PACKAGE = Path(capriccio_patch.__file__).parent


def own_frame() -> FrameType:
    """The frame of this call."""
    return sys._getframe()


def calling(callback: Any) -> Any:
    """What runs below the program's code."""
    return callback()


def in_module(function: Any, module: str) -> Any:
    """The same function, moved to another module."""
    return FunctionType(function.__code__, {"__name__": module, "sys": sys}, function.__name__)


@pytest.mark.parametrize(
    ("module", "ours"),
    [
        ("capriccio_patch.kernel.core", True),
        ("capriccio_patch.io.anything", True),
        ("capriccio_patch.a_module_that_is_new", True),
        ("capriccio_patch", True),
        ("capriccio_patch.audit.rows.threads", False),
        ("capriccio_patch.bench.peers", False),
        ("capriccio_patch_of_the_program", False),
        ("app", False),
        (None, False),
    ],
)
def test_a_frame_is_ours_wherever_in_the_package_its_module_lies(module: Any, ours: bool) -> None:
    assert frames.is_ours(in_module(own_frame, module)()) is ours


def interrupted_by(module: str) -> Point:
    """What may be done to the program's code that a function of `module` has called."""
    seen: list[Point] = []

    def program() -> None:
        def notice(frame: FrameType, event: str, argument: Any) -> None:
            if frame.f_code is target.__code__ and not seen:
                seen.append(point(frame))

        def target() -> None:
            pass

        old = sys.gettrace()
        sys.settrace(notice)
        try:
            target()
        finally:
            sys.settrace(old)

    in_module(calling, module)(program)
    return seen[0]


def test_moving_a_function_within_the_package_does_not_change_its_safety() -> None:
    assert interrupted_by("app") is Point.SAFE
    assert interrupted_by("capriccio_patch.wrappers.files.descriptors") is Point.NOT_NOW
    assert interrupted_by("capriccio_patch.elsewhere") is Point.NOT_NOW
    assert interrupted_by("capriccio_patch.wrappers.files.descriptors") is Point.NOT_NOW
    assert interrupted_by("app") is Point.SAFE


def test_an_entry_stays_one_wherever_it_is_moved() -> None:
    assert interrupted_by("capriccio_patch.anywhere") is Point.NOT_NOW
    frames.entry(calling)
    try:
        assert interrupted_by("capriccio_patch.anywhere") is Point.SAFE
        assert interrupted_by("capriccio_patch.kernel.core") is Point.SAFE
    finally:
        frames._entries.discard(id(calling.__code__))
        del frames._registered[id(calling.__code__)]
    assert interrupted_by("capriccio_patch.anywhere") is Point.NOT_NOW


def test_a_registered_function_is_ours_outside_the_package() -> None:
    def made() -> FrameType:
        return sys._getframe()

    assert not frames.is_ours(made())
    frames.register(made)
    try:
        assert frames.is_ours(made())
        assert frames.innermost(made()) is sys._getframe()
    finally:
        del frames._registered[id(made.__code__)]
    assert not frames.is_ours(made())


def test_only_functions_of_python_can_be_registered() -> None:
    with pytest.raises(TypeError, match="has code to register"):
        frames.register(len)


def test_each_program_of_the_package_is_known_as_one() -> None:
    """The installer of the start-up hook is none: it patches nothing and starts no thread."""
    found = {path.parent.name for path in PACKAGE.glob("*/__main__.py")} - {"sitecustomize"}
    found.add("integrations")  # programs of others run it
    assert {f"capriccio_patch.{name}" for name in found} == set(frames.PROGRAMS)


def test_the_wait_of_a_function_is_told_by_its_code() -> None:
    @frames.wait("a test")
    def waiting() -> FrameType:
        return sys._getframe()

    assert frames.wait_kind(waiting()) == "a test"
    assert frames.wait_kind(sys._getframe()) is None
