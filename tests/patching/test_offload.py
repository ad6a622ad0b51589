"""Calls of functions that the program names are made on worker OS threads."""

from __future__ import annotations

import binascii
import contextvars
import functools
import inspect
import itertools
import random
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch import ConfigError, PatchError, offload
from capriccio_patch.cpython import originals

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def os_ident() -> int:
    return int(originals.get_ident())


MINE = os_ident()


def function(a: int, b: int = 2, *, c: int = 3) -> Any:
    """What it was called with, and where."""
    return os_ident(), a, b, c


def make_closure() -> Callable[[], Any]:
    seen: list[int] = []

    def closure(x: int = 1) -> Any:
        seen.append(x)
        return os_ident(), len(seen)

    return closure


closure = make_closure()


def raising() -> None:
    raise LookupError(os_ident())


def reading() -> str:
    value = variable.get()
    variable.set("changed")
    return value


def mask() -> set[signal.Signals | int]:
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())


def nested() -> Any:
    return os_ident(), function(1)[0]


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None:
    pass


class Base:
    def method(self) -> Any:
        return os_ident(), self

    @classmethod
    def of_class(cls) -> Any:
        return os_ident(), cls

    @staticmethod
    def static() -> int:
        return os_ident()

    @property
    def attribute(self) -> int:
        return 1


class Compiled:
    """A callable of its own type that binds, as compilers for extensions make methods."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)


class Extension:
    method = Compiled(lambda self, n: (os_ident(), self, n))
    unbinding = functools.partial(os_ident)


class Derived(Base):
    def method(self) -> Any:
        return super().method()


early_bound = function
early_method = Base().method
early_partial = functools.partial(function, 5)
HERE = __name__


def test_a_function_runs_on_a_worker(patched: None) -> None:
    offload(f"{HERE}.function")
    ident, *args = function(1, c=4)
    assert ident != MINE
    assert args == [1, 2, 4]


def test_every_reference_is_served(patched: None) -> None:
    offload(f"{HERE}.function", f"{HERE}.Base.method")
    assert early_bound(1)[0] != MINE
    ident, *args = early_partial()
    assert ident != MINE
    assert args == [5, 2, 3]
    assert early_method()[0] != MINE
    assert Derived().method()[0] != MINE


def test_a_function_with_a_closure_keeps_it(patched: None) -> None:
    before = closure()[1]
    offload(f"{HERE}.closure")
    ident, count = closure(x=3)
    assert ident != MINE
    assert count == before + 1


def test_methods_of_all_kinds(patched: None) -> None:
    offload(f"{HERE}.Base.method", f"{HERE}.Base.of_class", f"{HERE}.Base.static")
    base = Base()
    assert base.method()[0] != MINE
    assert base.method()[1] is base
    assert Derived.of_class()[0] != MINE
    assert Derived.of_class()[1] is Derived
    assert Base.static() != MINE


def test_methods_of_types_of_their_own(patched: None) -> None:
    offload(f"{HERE}.Extension.method")
    extension = Extension()
    ident, *args = extension.method(1)
    assert ident != MINE
    assert args == [extension, 1]


@pytest.mark.skipif(
    hasattr(functools.partial, "__get__"), reason="a partial object is a method here"
)
def test_what_does_not_bind_is_no_method(patched: None) -> None:
    with pytest.raises(ConfigError, match="is a partial, not a method"):
        offload(f"{HERE}.Extension.unbinding")


def test_methods_of_c_types(patched: None) -> None:
    offload("random.Random.getrandbits", "itertools.chain.from_iterable")
    seen = []

    class Argument:
        def __index__(self) -> int:
            seen.append(os_ident())
            return 8

        def __iter__(self) -> Iterator[Any]:
            seen.append(os_ident())
            return iter([[1], [2]])

    assert random.Random().getrandbits(Argument()) < 256
    assert [*itertools.chain.from_iterable(Argument())] == [1, 2]
    assert len(seen) == 2
    assert MINE not in seen


def test_a_c_function(patched: None) -> None:
    seen = []

    class Value:
        def __index__(self) -> int:
            seen.append(os_ident())
            return 0

    crc32 = binascii.crc32
    offload("binascii.crc32")
    assert crc32(b"x", Value()) == binascii.crc32(b"x")
    assert seen[0] != MINE
    assert seen[0] in seen


def test_an_offloaded_call_lets_others_run(ticker: Any) -> None:
    offload(f"{HERE}.wait_outside")
    originals.lock_acquire(gate)
    with ticker().at(3, lambda: originals.lock_release(gate)):
        assert wait_outside()


gate = originals.allocate_lock()


def wait_outside() -> bool:
    return bool(originals.lock_acquire(gate, True, 20))


def test_exceptions_come_back(patched: None) -> None:
    offload(f"{HERE}.raising")
    with pytest.raises(LookupError) as raised:
        raising()
    assert raised.value.args != (MINE,)


def test_context_variables_are_the_callers(patched: None) -> None:
    offload(f"{HERE}.reading")
    token = variable.set("set")
    try:
        assert reading() == "set"
        assert variable.get() == "changed"
    finally:
        variable.reset(token)


def test_it_has_the_signal_mask_of_its_caller(patched: None) -> None:
    """Processes and OS threads that it starts inherit it."""
    offload(f"{HERE}.mask")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        assert mask() == {signal.SIGUSR1}
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    assert mask() == set()


def test_an_offloaded_function_calls_another_directly(patched: None) -> None:
    offload(f"{HERE}.nested", f"{HERE}.function")
    outer, inner = nested()
    assert outer == inner != MINE


def test_other_os_threads_call_it_directly(patched: None) -> None:
    offload(f"{HERE}.function")
    done = originals.allocate_lock()
    originals.lock_acquire(done)
    seen = []

    def outside() -> None:
        seen.append((os_ident(), function(1)[0]))
        originals.lock_release(done)

    originals.start_new_thread(outside, ())
    assert originals.lock_acquire(done, True, 10)
    assert seen[0][0] == seen[0][1]


def test_signatures_stay(patched: None) -> None:
    before = [inspect.signature(each) for each in (function, Base.method, closure)]
    offload(f"{HERE}.function", f"{HERE}.Base.method", f"{HERE}.closure")
    assert [inspect.signature(each) for each in (function, Base.method, closure)] == before
    assert (function.__name__, function.__doc__) == (
        "function",
        "What it was called with, and where.",
    )


def test_twice_is_once(patched: None) -> None:
    offload(f"{HERE}.function", "zlib.crc32")
    code = function.__code__
    offload(f"{HERE}.function", "zlib.crc32")
    assert function.__code__ is code
    assert capriccio_patch.status()["offload"] == {f"{HERE}.function": True, "zlib.crc32": True}


def test_undoing_puts_everything_back() -> None:
    def state() -> Any:
        attributes = [dict(vars(each)) for each in (function, Base, Extension)]
        return function.__code__, closure.__code__, attributes

    before = state()
    capriccio_patch.patch_all()
    offload(f"{HERE}.function", f"{HERE}.Base.method", f"{HERE}.Base.static", f"{HERE}.closure")
    offload("zlib.crc32", "random.Random.getrandbits", f"{HERE}.Extension.method")
    capriccio_patch.unpatch_all()
    assert state() == before
    assert function(1)[0] == MINE
    assert Base.static() == MINE


BAD = [
    ("function", "is no dotted path"),
    ("", "is no dotted path"),
    ("a..b", "is no dotted path"),
    ("no_such_module.function", "there is no module 'no_such_module'"),
    ("os.no_such_function", "does not exist"),
    ("os.path.no_such_function", "does not exist"),
    ("collections.OrderedDict.no_such_method", "does not exist"),
    (f"{HERE}.Base", "is a class"),
    (f"{HERE}.MINE", "is not a function"),
    (f"{HERE}.Base.attribute", "is not a function"),
    (f"{HERE}.generator", "does its work after the call"),
    (f"{HERE}.coroutine", "does its work after the call"),
]
if int.__flags__ & 1 << 1:
    BAD.append(("builtins.int.from_bytes", "built into the interpreter"))


@pytest.mark.parametrize(("name", "reason"), BAD)
def test_bad_names_are_refused(patched: None, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(name)) + ".*" + reason):
        offload(f"{HERE}.function", name)
    assert function(1)[0] == MINE  # none of them has taken effect


def test_without_a_patch_it_is_refused() -> None:
    with pytest.raises(PatchError, match="patch_all"):
        offload("zlib.crc32")


# -- the setting ---------------------------------------------------------------------------------

MODULE = """
import _thread
from capriccio_patch.cpython import originals

def where():
    return originals.get_ident()

class Class:
    def method(self):
        return originals.get_ident()
"""


@pytest.fixture
def package(tmp_path: Path, environ: dict[str, str]) -> dict[str, str]:
    """The environment with a package `program` of one module `part` to import."""
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "__init__.py").write_text(MODULE)
    (tmp_path / "program" / "part.py").write_text(MODULE)
    return {"PYTHONPATH": f"{environ['PYTHONPATH']}:{tmp_path}"}


def test_the_setting_waits_for_the_import(run_script: Any, package: dict[str, str]) -> None:
    names = "program.where,program.part.where,program.part.Class.method,zlib.crc32"
    run_script(
        """
        import sys
        import capriccio_patch
        from capriccio_patch.cpython import originals
        capriccio_patch.patch_all()
        assert "program" not in sys.modules
        state = capriccio_patch.status()["offload"]
        assert [*state.values()] == [False, False, False, True], state
        import program
        assert program.where() != originals.get_ident()
        assert "program.part" not in sys.modules
        from program.part import Class, where
        assert where() != originals.get_ident()
        assert Class().method() != originals.get_ident()
        assert all(capriccio_patch.status()["offload"].values())
        """,
        env=package | {"CAPRICCIO_OFFLOAD": names},
    )


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("os.no_such", "capriccio_patch.patch_all()"),
        ("name", "capriccio_patch.patch_all()"),
        ("program.no_such", "import program"),
        ("program.nothing.where", "import program"),
        ("program.part.no_such", "import program.part"),
        ("program.part.Class.no_such", "import program.part"),
    ],
)
def test_a_bad_setting_is_refused_when_it_is_known_to_be_bad(
    run_script: Any, package: dict[str, str], name: str, when: str
) -> None:
    run_script(
        """
        import sys
        import capriccio_patch
        at, name = sys.argv[1:]
        lines = ["capriccio_patch.patch_all()"]
        if at != lines[0]:
            lines.append(at)
        for line in lines:
            try:
                exec(line)
            except capriccio_patch.ConfigError as error:
                assert repr(name) in str(error)
                assert line == at, (line, error)
                break
        else:
            raise AssertionError("not refused")
        """,
        when,
        name,
        env=package | {"CAPRICCIO_OFFLOAD": name},
    )


def test_the_argument_of_patch_all(run_script: Any) -> None:
    run_script(
        """
        import capriccio_patch
        capriccio_patch.patch_all(offload=["zlib.crc32"])
        assert capriccio_patch.status()["offload"] == {"zlib.crc32": True}
        capriccio_patch.unpatch_all()
        try:
            capriccio_patch.patch_all(offload=["zlib.nothing"])
        except capriccio_patch.ConfigError:
            pass
        assert not capriccio_patch.status()["patched"]
        """
    )
