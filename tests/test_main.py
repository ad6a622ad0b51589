"""python -m capriccio_patch against plain python: the same program, the same outcome.

Each comparison runs a program both ways and asserts that status, standard output and standard
error are equal, so that it holds on every supported interpreter whatever its messages look like.
"""

import json
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ENTRY = ("-m", "capriccio_patch")

FACTS = """\
import sys
print(sys.argv, sys.path, __name__, __builtins__.__name__, __doc__)
print(sys.modules["__main__"].__dict__ is globals())
for name, value in list(globals().items()):
    print(name, repr(value).partition(" object at ")[0])
print(getattr(__spec__, "name", None), getattr(__spec__, "origin", None))
"""
FAILS = """\
def fail():
    1 / 0
fail()
"""


class Outcome:
    """How a child interpreter ended, comparable with another's and readable when different."""

    def __init__(self, done: "subprocess.CompletedProcess[str]") -> None:
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Outcome) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"status {self.status}\n--- out\n{self.out}\n--- err\n{self.err}"


class Runner:
    """Runs child interpreters in a directory that holds a few programs."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.directory, self.environ = directory, environ

    def __call__(self, *args: str, stdin: str = "") -> Outcome:
        done = subprocess.run(
            [sys.executable, *args],
            input=stdin,
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Outcome(done)

    def patched(self, *args: str, stdin: str = "") -> Outcome:
        return self(*ENTRY, *args, stdin=stdin)

    def compare(self, *args: str, flags: Sequence[str] = (), stdin: str = "") -> Outcome:
        """Run both ways, assert that the outcome is the same, and return it."""
        plain = self(*flags, *args, stdin=stdin)
        patched = self(*flags, *ENTRY, *args, stdin=stdin)
        assert patched == plain
        return plain


@pytest.fixture
def run(tmp_path: Path, environ: dict[str, str]) -> Runner:
    (tmp_path / "facts.py").write_text(FACTS)
    (tmp_path / "fails.py").write_text(FAILS)
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt\n")
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "fine.py").write_text("")
    (package / "__main__.py").write_text(FACTS)
    (package / "link.py").symlink_to("../facts.py")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", FACTS)
    return Runner(tmp_path, environ)


@pytest.mark.parametrize("flags", [(), ("-P",), ("-X", "utf8", "-W", "error", "-u", "-O", "-B")])
@pytest.mark.parametrize(
    "target",
    [
        ("facts.py",),
        ("./facts.py",),
        ("package/link.py",),
        ("package",),
        ("package/",),
        ("app.zip",),
        ("-m", "facts"),
        ("-mpackage",),
        ("-c", FACTS),
        ("-c" + FACTS,),
        ("-",),
    ],
    ids=lambda target: target[0][:12],
)
def test_a_program_sees_what_it_sees_under_python(
    run: Runner, target: tuple[str, ...], flags: tuple[str, ...]
) -> None:
    outcome = run.compare(*target, "a", "-m", "--b", flags=flags, stdin=FACTS)
    if flags == ("-P",) and target[0].startswith("-m"):
        assert "No module named" in outcome.err  # the current directory is not on the path
    else:
        assert "'a', '-m', '--b'" in outcome.out


def test_a_pipe_is_a_program_if_none_is_given(run: Runner) -> None:
    assert run.compare(stdin=FACTS).out.startswith("[''] ")


def test_a_program_from_a_pipe_has_read_all_of_it(run: Runner) -> None:
    assert run.compare("-", stdin="print(repr(input()))\nsecond line").status == 1


@pytest.mark.parametrize(
    ("target", "status", "message"),
    [
        (("missing.py",), 2, "can't open file"),
        (("missing/app.py",), 2, "can't open file"),
        (("-m", "missing"), 1, "No module named missing"),
        (("-m", "package.missing"), 1, "No module named package.missing"),
        (("-m", "package.fine.missing"), 1, "Error while finding module specification"),
        (("empty",), 1, "can't find '__main__' module"),
        (("-m", "empty"), 1, "is a package and cannot be directly executed"),
    ],
    ids=str,
)
def test_a_missing_program_is_pythons_own_error(
    run: Runner, target: tuple[str, ...], status: int, message: str
) -> None:
    outcome = run.compare(*target)
    assert outcome.status == status
    assert message in outcome.err


@pytest.mark.parametrize(
    "code",
    [
        "",
        "raise SystemExit",
        "raise SystemExit(0)",
        "raise SystemExit(3)",
        "raise SystemExit('bye')",
        "raise SystemExit(['a'])",
        "import os; os._exit(7)",
        "import sys, atexit; atexit.register(print, 'atexit'); sys.exit(4)",
        "raise ValueError('uncaught')",
        "raise ExceptionGroup('group', [ValueError(1), KeyError(2)])",
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError from error",
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    raise ValueError",
        "x = (",
        "  x = 1",
        "import warnings; warnings.warn('to be seen')",
        "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()",
        "from __future__ import annotations\ndef f(x: y): pass\nprint(f.__annotations__)",
        "def f(x: int): pass\nprint(f.__annotations__)",
        "import sys\nprint('\\ud800')",
    ],
)
def test_an_end_is_the_same_however_the_program_is_given(run: Runner, code: str) -> None:
    (run.directory / "ends.py").write_text(code)
    run.compare("-c", code)
    run.compare("-", stdin=code)
    run.compare("ends.py")
    run.compare("-m", "ends")


@pytest.mark.parametrize("target", [("fails.py",), ("-m", "fails"), ("-c", FAILS), ("-",)])
def test_a_traceback_shows_no_frame_of_ours(run: Runner, target: tuple[str, ...]) -> None:
    outcome = run.compare(*target, stdin=FAILS)
    assert outcome.status == 1
    assert "in fail" in outcome.err


@pytest.mark.parametrize(
    "body",
    [
        "print(kind, error, sys.last_value is error, sys.last_traceback is traceback)",
        "print(error.__traceback__ is traceback, traceback.tb_lineno, traceback.tb_next)",
        "sys.exit(5)",
        "print(sys.excepthook.__name__)",
    ],
)
def test_the_programs_excepthook_is_called(run: Runner, body: str) -> None:
    hook = f"def hook(kind, error, traceback):\n    {body}\n"
    code = f"import sys\n{hook}sys.excepthook = hook\n1 / 0"
    run.compare("-c", code)


@pytest.mark.parametrize(
    "target", [("interrupted.py",), ("-m", "interrupted"), ("-c", "raise KeyboardInterrupt")]
)
def test_keyboard_interrupt_is_death_by_sigint(run: Runner, target: tuple[str, ...]) -> None:
    assert run.compare(*target).status == -signal.SIGINT


def test_a_real_sigint_interrupts_a_sleep(run: Runner) -> None:
    # One line, so that it does not matter where on it the signal arrives.
    code = "import time\nprint('ready', flush=True); time.sleep(50)"
    outcomes = []
    for prefix in ((), ENTRY):
        with subprocess.Popen(
            [sys.executable, *prefix, "-c", code],
            cwd=run.directory,
            env=run.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=30)
            outcomes.append((child.returncode, out, re.sub(r"(?m)^ *[~^]+\n", "", err)))
    assert outcomes[1] == outcomes[0]
    assert outcomes[0][0] == -signal.SIGINT


def test_a_failing_call_that_is_taken_over_shows_no_frame_of_ours(run: Runner) -> None:
    code = """\
import socket
with socket.create_server(("127.0.0.1", 0)) as listener:
    address = listener.getsockname()
socket.create_connection(address)
"""
    assert "ConnectionRefusedError" in run.compare("-c", code).err


@pytest.mark.parametrize(
    "wait",
    [
        "while threading.main_thread().is_alive(): time.sleep(0.01)",
        "threading.main_thread().join()",
    ],
)
def test_threads_are_joined_after_the_program_and_before_its_exit_handlers(
    run: Runner, wait: str
) -> None:
    code = f"""\
import atexit, threading, time
def work():
    {wait}
    print("thread")
atexit.register(print, "atexit")
threading.Thread(target=work).start()
print("main")
raise ValueError
"""
    assert run.compare("-c", code).out.split() == ["main", "thread", "atexit"]


def test_an_error_in_a_thread_is_reported_as_ever(run: Runner) -> None:
    work = "def work():\n    1 / 0\n"
    code = f"import threading\n{work}threading.Thread(target=work, name='t').start()"
    assert "Exception in thread t" in run.compare("-c", code).err


def test_classes_of_the_program_can_be_pickled(run: Runner) -> None:
    code = "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)"
    assert run.compare("-c", code).out == "True\n"


@pytest.mark.parametrize("target", [("spawns.py",), ("-m", "spawns")])
def test_a_spawned_process_imports_the_program(run: Runner, target: tuple[str, ...]) -> None:
    (run.directory / "spawns.py").write_text("""\
import multiprocessing
def work(x):
    print(2 * x, __name__)
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work, args=(2,))
    child.start()
    child.join()
""")
    assert run.compare(*target).out == "4 __mp_main__\n"


def test_compiled_programs(run: Runner) -> None:
    run("-c", "import py_compile; py_compile.compile('facts.py', 'facts.pyc')")
    (run.directory / "bad.pyc").write_bytes(b"not bytecode")
    assert run.compare("facts.pyc").status == 0
    assert "Bad magic number" in run.compare("bad.pyc").err


def test_a_prompt_after_the_program_sees_it(run: Runner) -> None:
    for code in ("x = 3", "x = 3; 1 / 0", "x = 3; raise SystemExit(4)"):
        outcome = run.compare("-c", code, flags=("-i",), stdin="print(x)\n1 / 0\n")
        assert outcome.out == "3\n"


def test_the_current_directory_is_not_on_the_path_of_a_script(run: Runner) -> None:
    scripts = run.directory / "scripts"
    scripts.mkdir()
    (scripts / "app.py").write_text("print('ran')")
    for name in ("json", "difflib"):
        (run.directory / f"{name}.py").write_text("raise SystemExit('taken from here')")
    run.environ["CAPRICCIO_TYPO"] = "1"
    outcome = run.patched("--status", "scripts/app.py")
    assert outcome.out == "ran\n"
    assert "CAPRICCIO_TYPO" in outcome.err


def test_options_reach_patch_all(run: Runner) -> None:
    code = "import capriccio_patch; print(capriccio_patch.is_patched('time.sleep'))"
    assert run.patched("--sockio", "poll", "--scheduler=fifo", "-c", code).out == "True\n"
    assert run.patched("--exclude=time.sleep", "-c", code).out == "False\n"
    assert run.patched("--only", "time.sleep", "-c", code).out == "True\n"


def test_status_is_json_on_standard_error(run: Runner) -> None:
    outcome = run.patched("--status", "--sockio", "poll", "-c", "print(1)")
    assert outcome.out == "1\n"
    assert "poll" in json.dumps(json.loads(outcome.err))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--nonsense", "facts.py"), "unknown option --nonsense"),
        (("--status=1", "facts.py"), "unknown option --status=1"),
        (("-u", "facts.py"), "options of the interpreter go before -m capriccio_patch"),
        (("--sockio",), "option --sockio needs a value"),
        (("-c",), "option -c needs a value"),
        (("-m",), "option -m needs a value"),
        (("--sockio", "nonsense", "facts.py"), "nonsense"),
        (("--scheduler", "nonsense", "facts.py"), "nonsense"),
        (("--only", "nonsense", "facts.py"), "nonsense"),
    ],
    ids=str,
)
def test_a_usage_error_is_one_line_and_status_2(
    run: Runner, args: tuple[str, ...], message: str
) -> None:
    outcome = run.patched(*args)
    assert outcome.status == 2
    assert outcome.out == ""
    assert re.fullmatch(r"capriccio_patch: error: .*\n", outcome.err)
    assert message in outcome.err


def test_a_bad_variable_is_the_same_kind_of_error(run: Runner) -> None:
    run.environ["CAPRICCIO_SOCKIO"] = "nonsense"
    outcome = run.patched("facts.py")
    assert (outcome.status, outcome.out) == (2, "")
    assert re.fullmatch(r"capriccio_patch: error: .*nonsense.*\n", outcome.err)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(run: Runner, option: str) -> None:
    outcome = run.patched(option)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith("usage: python -m capriccio_patch [options]")


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(run: Runner, option: str) -> None:
    import capriccio_patch

    assert run.patched(option).out == f"capriccio_patch {capriccio_patch.__version__}\n"


class TestWithoutACurrentDirectory:
    """It has been removed."""

    @staticmethod
    def run(environ: dict[str, str], tmp_path: Path, *args: str) -> tuple[int, str, str]:
        gone = tmp_path / "gone"
        gone.mkdir()
        command = [sys.executable, *args]
        code = f"import os, sys; os.rmdir(os.getcwd()); os.execv({command[0]!r}, {command!r})"
        done = subprocess.run(
            [sys.executable, "-S", "-c", code],
            cwd=gone,
            env=environ,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout, done.stderr

    @pytest.mark.parametrize(
        "args",
        [
            ("{script}",),
            ("-c", "import sys; print(sys.path[0] == '', len(sys.path))"),
            ("-m", "told"),
            ("-P", "{script}"),
            ("is_none.py",),
            ("-m", "is_none"),
        ],
    )
    def test_a_program_runs_as_by_python(
        self, environ: dict[str, str], tmp_path: Path, args: tuple[str, ...]
    ) -> None:
        directory = tmp_path / "program"
        directory.mkdir()
        script = directory / "told.py"
        script.write_text("import sys\nprint(__name__, __file__, sys.argv, sys.path)\n")
        environ["PYTHONPATH"] += f":{directory}"
        args = tuple(arg.format(script=script) for arg in args)
        options = args[:1] if args[0] == "-P" else ()
        stock = self.run(environ, tmp_path, *args)
        ours = (*options, "-m", "capriccio_patch", *args[len(options) :])
        assert self.run(environ, tmp_path, *ours) == stock


def test_what_runs_it_as_a_module_keeps_what_it_has_imported(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """As debugpy does, whose modules lie where no path leads to afterwards."""
    vendored = tmp_path / "vendored"
    vendored.mkdir()
    (vendored / "lent.py").touch()
    (tmp_path / "debugger.py").write_text(
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(vendored)!r})\n"
        "import lent\n"
        "sys.path[0] = '/debugger'\n"
        "sys.argv = ['-m', 'program.py']\n"
        "runpy._run_module_as_main('capriccio_patch', alter_argv=True)\n"
    )
    (tmp_path / "program.py").write_text("import sys, lent\nprint('/debugger' in sys.path)\n")
    command = [sys.executable, "-m", "debugger"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
