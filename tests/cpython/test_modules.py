"""Modules that the runtime has imported, and those of the program that are called like them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import sysconfig
import textwrap
import zipfile
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import greenlet
import pytest

from capriccio_patch.cpython import modules
from capriccio_patch.cpython.modules import is_standard, standard, whole
from tests.conftest import RunScript

OWN = (
    *("ast", "asyncio", "contextvars", "ctypes", "dis", "faulthandler", "fcntl", "greenlet"),
    *("heapq", "inspect", "json", "mmap", "opcode", "psutil", "queue", "random"),
    *("readline", "resource", "select", "socket", "sqlite3", "ssl", "struct", "termios"),
    *("threading", "token", "tokenize", "traceback", "typing", "weakref", "wrapt"),
)
"""What the program of these tests has modules of its own for; none of them is found without a
path."""

_TELL = """
import sys
import time
found = {}
for name in sys.argv[1].split():
    found[name] = getattr(__import__(name), "WHO", "not the program's")
time.sleep(0)
print(found)
"""
_OWN = """
WHO = "the program's"

class Queue:
    def put(self, item):
        self.item = item

def _shutdown():  # which the interpreter calls at its end, if this is threading
    pass
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that tells which modules it finds, and has one for each name of `OWN`."""
    directory = tmp_path / "program"
    directory.mkdir()
    for name in OWN:
        (directory / f"{name}.py").write_text(_OWN)
    script = directory / "tell.py"
    script.write_text(_TELL)
    return script


def run(environ: dict[str, str], cwd: Path, *args: str, by: str = sys.executable) -> str:
    """What an interpreter prints, started `by` this path; it prints no error."""
    command = [by, *args]
    done = subprocess.run(command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("scheduler", ["fifo", "random"])
@pytest.mark.parametrize("where", ["elsewhere", "there"])
@pytest.mark.parametrize("kind", ["file", "-m", "-c"])
def test_the_program_finds_its_own(
    environ: dict[str, str], program: Path, tmp_path: Path, kind: str, where: str, scheduler: str
) -> None:
    directory = program.parent
    cwd = tmp_path if where == "elsewhere" else directory
    if where == "elsewhere":
        environ["PYTHONPATH"] += f":{directory}"
    what = {"file": [str(program)], "-m": ["-m", "tell"], "-c": ["-c", _TELL]}[kind]
    names = " ".join(OWN)
    ours = ("-m", "capriccio_patch", "--scheduler", scheduler)
    expected = run(environ, cwd, *what, names)
    assert expected.count("the program's") > len(OWN) / 2
    assert run(environ, cwd, *ours, *what, names) == expected


def test_a_path_that_comes_first_later(run_script: RunScript, program: Path) -> None:
    code = f"""
        import sys
        sys.path.insert(0, {str(program.parent)!r})
        import resource, token
        print(resource.WHO, token.WHO)
    """
    assert run_script(code, options=("-m", "capriccio_patch")).stdout == (
        "the program's the program's\n"
    )


def test_an_interpreter_started_by_way_of_a_parent_folder(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Its prefixes keep the ``..``, its path does not."""
    executable = os.path.relpath(sys._base_executable, tmp_path)  # type: ignore[attr-defined]
    places = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    environ["PYTHONPATH"] = os.pathsep.join([environ["PYTHONPATH"], *places])
    code = """
        import sys
        from capriccio_patch.cpython.modules import standard
        names = {"_multiprocessing", "mmap", "resource", "termios"} - sys.modules.keys()
        mine = {name: standard(name) for name in names}
        print(len(names) > 0, all(__import__(name) is mine[name] for name in names))
    """
    found = run(environ, tmp_path, "-c", textwrap.dedent(code), by=executable)
    assert found == "True True\n"


def test_without_one_of_its_own_it_finds_what_the_runtime_uses(run_script: RunScript) -> None:
    by_option_m = run_script("import runpy, sys; print('threading' in sys.modules)").stdout.strip()
    done = run_script(
        """
        import importlib, sys
        from importlib.machinery import PathFinder
        before = "threading" in sys.modules
        spec = PathFinder.find_spec("threading")
        print(before, "class Thread" in spec.loader.get_source("threading"))
        import threading
        import capriccio_patch
        from capriccio_patch.wrappers.threads import start
        print(start.threading is threading, sys.modules["threading"] is threading)
        print(capriccio_patch.is_patched("threading.Condition.wait"), threading.__spec__.name)
        found = []
        thread = threading.Thread(target=lambda: found.append(capriccio_patch.status()["threads"]))
        thread.start()
        thread.join()
        print(found == [2])
        import token
        token.MARK = 1
        print(importlib.reload(token) is token, token.MARK)
        del sys.modules["token"]
        import token as another
        print(hasattr(another, "MARK"))
        """,
        options=("-m", "capriccio_patch"),
    )
    assert done.stdout.splitlines() == [
        f"{by_option_m} True",
        "True True",
        "True threading",
        "True",
        "True 1",
        "False",
    ]


@pytest.mark.parametrize("module", ["dis", "tokenize", "inspect"])
def test_a_module_that_the_runtime_uses_is_run(
    environ: dict[str, str], tmp_path: Path, module: str
) -> None:
    (tmp_path / "text.py").write_text("a = 1\n")
    what = ("-m", module, "dis:dis" if module == "inspect" else "text.py")
    assert run(environ, tmp_path, "-m", "capriccio_patch", *what) == run(environ, tmp_path, *what)


def test_nothing_is_imported_that_the_program_has_not_imported(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """But for what no path leads to, and the package itself."""
    code = textwrap.dedent(
        """
        import json, sys
        loaders = {name: type(getattr(getattr(module, "__spec__", None), "loader", None)).__name__
                   for name, module in sys.modules.items()
                   if getattr(getattr(module, "__spec__", None), "name", None) == name}
        print(json.dumps(loaders))
        """
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    stock = json.loads(run(environ, tmp_path, "-m", "script"))  # `-m` imports some itself
    patched = json.loads(run(environ, tmp_path, "-m", "capriccio_patch", str(script)))
    more = {
        name: loader
        for name, loader in patched.items()
        if name not in stock and not name.startswith("capriccio_patch")
    }
    assert not [name for name, loader in more.items() if loader.endswith("FileLoader")]


def test_a_start_imports_nothing_that_it_can_do_without(run_script: RunScript) -> None:
    run_script(
        """
        import sys
        before = {*sys.modules}
        import capriccio_patch
        from capriccio_patch.cpython import modules
        capriccio_patch.patch_all()
        found = {"contextlib", "importlib.util", "typing"} & {*sys.modules, *modules._aside}
        assert found <= before, found - before
        late = {f"capriccio_patch.{name}" for name in (
            "wrappers.offloaded.interpreters", "wrappers.offloaded.sqlite3", "wrappers.sockets.ssl",
            "wrappers.sockets.listeners", "wrappers.threads.asyncio", "wrappers.threads.queue",
        )}
        assert not late & {*sys.modules}
        import queue
        assert late & {*sys.modules} == {"capriccio_patch.wrappers.threads.queue"}
        """
    )


@pytest.mark.parametrize("name", ["asyncio", "queue", "sqlite3", "ssl"])
@pytest.mark.parametrize("when", ["before the patch", "after it"])
def test_one_of_the_programs_own_is_not_taken_over(
    run_script: RunScript, tmp_path: Path, name: str, when: str
) -> None:
    own_modules = tmp_path / "own"
    own_modules.mkdir()
    (own_modules / f"{name}.py").write_text(_OWN)
    own, patch = f"import {name}", "import capriccio_patch; capriccio_patch.patch_all()"
    lines = (own, patch) if when == "before the patch" else (patch, own)
    done = run_script(
        f"""
        import sys
        sys.path.insert(0, {str(own_modules)!r})
        {lines[0]}
        {lines[1]}
        made = {name}.Queue()
        made.put(1)
        print({name}.WHO, made.item, capriccio_patch.status()["failed"])
        print([name for name in capriccio_patch.status()["how"] if name.startswith("{name}.")])
        """
    )
    assert done.stdout == "the program's 1 {}\n[]\n"


@pytest.mark.parametrize("name", ["socket", "ssl"])
def test_a_module_of_its_own_is_preempted(run_script: RunScript, tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("def spin(over):\n    while not over:\n        pass\n")
    code = f"""
        import _thread, {name}, time
        import capriccio_patch
        capriccio_patch.patch_all()
        over = []

        def end():
            time.sleep(0.01)
            over.append(1)

        _thread.start_new_thread(end, ())
        {name}.spin(over)
        print("over")
    """
    assert run_script(code, timeout=30).stdout == "over\n"


@pytest.mark.parametrize(
    "name", ["sys", "time", "_thread", "_frozen_importlib", "os", "threading", "json", "_socket"]
)
def test_what_is_the_standard_librarys(name: str) -> None:
    __import__(name)
    assert is_standard(vars(sys.modules[name]))


def test_what_is_not() -> None:
    for module in (greenlet, pytest, sys.modules[__name__]):
        assert not is_standard(vars(module))
    assert not is_standard({})
    assert not is_standard({"__spec__": None})


def test_a_module_of_the_standard_library_is_got_under_another_of_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own: Any = type(sys)("this")
    for name in ("traceback", "colorsys", "cmath", "this.is.none"):
        monkeypatch.setitem(sys.modules, name, own)
    assert standard("traceback").format_stack
    assert standard("traceback") is standard("traceback")
    assert standard("colorsys").rgb_to_hls(0, 0, 0) == (0.0, 0.0, 0.0)
    assert standard("cmath").phase(1) == 0
    assert sys.modules["colorsys"] is own
    with pytest.raises(ModuleNotFoundError):
        standard("this.is.none")


def test_one_that_is_being_imported_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The import may go on after the call, on another thread."""
    import colorsys

    begun: Any = modules.module_from_spec(colorsys.__spec__)
    monkeypatch.setattr(begun.__spec__, "_initializing", True, raising=False)
    monkeypatch.setitem(sys.modules, "colorsys", begun)
    monkeypatch.delitem(modules._aside, "colorsys", raising=False)
    assert standard("colorsys") is begun
    assert whole("colorsys").rgb_to_hls(0, 0, 0) == (0.0, 0.0, 0.0)


def test_nobody_is_given_one_that_is_not_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    keep = modules._keep
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    monkeypatch.delitem(modules._aside, "colorsys", raising=False)
    monkeypatch.setattr(
        modules,
        "_keep",
        lambda name, module: (kept.append(hasattr(module, "rgb_to_hls")), keep(name, module)),
    )
    assert standard("colorsys") is standard("colorsys")
    assert kept == [True]


@pytest.mark.parametrize("name", ["api", "kernel", "kernel.core", "wrappers.threads.locks"])
def test_own_modules_are_found_as_by_the_path(name: str) -> None:
    name = f"capriccio_patch.{name}"
    path = importlib.import_module(name.rpartition(".")[0]).__path__
    found = modules._finder.find_spec(name, path)
    assert found == PathFinder.find_spec(name, path)
    assert type(found.loader) is SourceFileLoader


@pytest.mark.parametrize("name", ["core._core", "core.nothing"])
def test_what_is_no_file_of_python_is_left_to_other_finders(name: str, tmp_path: Path) -> None:
    path = importlib.import_module("capriccio_patch.core").__path__
    assert modules._finder.find_spec(f"capriccio_patch.{name}", path) is None
    assert modules._finder.find_spec("capriccio_patch.api", [str(tmp_path / "archive.zip")]) is None


@pytest.mark.skipif(
    find_spec("capriccio_patch.cpython._suspended") is not None,
    reason="this Python needs a module of C",
)
def test_the_package_runs_from_an_archive(environ: dict[str, str], tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    folder = Path(modules.__file__).parents[1]
    with zipfile.ZipFile(archive, "w") as file:
        for each in folder.rglob("*.py"):
            file.write(each, each.relative_to(folder.parent))
    environ["PYTHONPATH"] = os.pathsep.join([str(archive), environ["PYTHONPATH"]])
    environ["CAPRICCIO_CORE"] = "auto"  # no extension can be loaded from there
    code = "import capriccio_patch as c; c.patch_all(); print(c.status()['patched'], c.__file__)"
    assert run(environ, tmp_path, "-c", code).startswith(f"True {archive}")
