"""Interpreters that a patched program starts are patched like it, or not, as it asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import capriccio_patch
from capriccio_patch.config import Settings
from tests.conftest import RunScript
from tests.test_sitecustomize import Environment

ENTRY = ("-m", "capriccio_patch")
HOOK = Path(capriccio_patch.__file__).parent / "sitecustomize" / "hook"
TELL = """\
import json, sys
import capriccio_patch
status = capriccio_patch.status()
print(json.dumps([status.get("patched_by"), status.get("scheduler"), status.get("seed")]))
"""
STARTS = {
    "subprocess": "subprocess.run([sys.executable, 'tell.py'], check=True)",
    "shell": "subprocess.run('\"$PYTHON\" tell.py', shell=True, check=True)",
    "system": "os.system('\"$PYTHON\" tell.py')",
    "exec": "os.execv(sys.executable, [sys.executable, 'tell.py'])",
    "spawn": "os.spawnv(os.P_WAIT, sys.executable, [sys.executable, 'tell.py'])",
    "posix_spawn": "os.waitpid(os.posix_spawn(sys.executable, "
    "[sys.executable, 'tell.py'], os.environ), 0)",
    "fork_exec": "fork_exec()",
    "grandchild": "subprocess.run([sys.executable, '-c', 'import subprocess, sys; "
    'subprocess.run([sys.executable, "tell.py"])\'])',
    "spawn context": "process('spawn')",
    "forkserver context": "process('forkserver')",
}
PARENT = """\
import multiprocessing, os, runpy, subprocess, sys
os.environ["PYTHON"] = sys.executable
def fork_exec():
    if (child := os.fork()) == 0:
        os.execv(sys.executable, [sys.executable, "tell.py"])
    os.waitpid(child, 0)
def tell():
    runpy.run_path("tell.py")
def process(method):
    child = multiprocessing.get_context(method).Process(target=tell)
    child.start()
    child.join()
if __name__ == "__main__":
    {start}
"""
AGAIN = """\
import os, sys
if not os.environ.get("AGAIN"):
    os.environ["AGAIN"] = "1"
    os.execv(sys.executable, sys.orig_argv)
"""


class Runner:
    """Runs programs in a directory that has one which tells how it is patched."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.directory, self.environ = directory, environ
        (directory / "tell.py").write_text(TELL)

    def __call__(self, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args],
            cwd=self.directory,
            env=self.environ | environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def told(self, *args: str, **environ: str) -> Any:
        """What the one child says; nothing else is printed."""
        done = self(*args, **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def parent(self, start: str) -> str:
        (self.directory / "parent.py").write_text(PARENT.format(start=start))
        return "parent.py"


@pytest.fixture
def run(tmp_path: Path, environ: dict[str, str]) -> Runner:
    return Runner(tmp_path, environ)


@pytest.mark.parametrize("how", STARTS)
def test_a_child_is_patched_with_the_settings_of_its_parent(run: Runner, how: str) -> None:
    options = ("--scheduler", "random", "--seed", "7")
    assert run.told(*ENTRY, *options, run.parent(STARTS[how])) == ["parent process", "random", 7]


@pytest.mark.parametrize("how", ["subprocess", "exec", "spawn context", "forkserver context"])
def test_or_it_is_not(run: Runner, how: str) -> None:
    nothing = [None, None, None]
    parent = run.parent(STARTS[how])
    assert run.told(*ENTRY, "--no-children", parent) == nothing
    assert run.told(*ENTRY, parent, CAPRICCIO_CHILDREN="0") == nothing


@pytest.mark.parametrize(("children", "by"), [(True, "parent process"), (None, None)])
def test_a_program_that_patches_itself_says_which(
    run: Runner, children: bool | None, by: str | None
) -> None:
    start = f"import capriccio_patch; capriccio_patch.patch_all(children={children})\n    "
    assert run.told(run.parent(start + STARTS["subprocess"]))[0] == by


def test_how_this_process_came_to_be_patched(run: Runner) -> None:
    assert run.told(*ENTRY, "tell.py")[0] == "python -m capriccio_patch"
    text = f"import capriccio_patch; capriccio_patch.patch_all()\n{TELL}"
    assert run.told("-c", text)[0] == "patch_all()"


def test_a_program_that_is_started_again_by_its_own_command_line(run: Runner) -> None:
    """With the options that it was started with, of which one was not to patch children."""
    (run.directory / "again.py").write_text(AGAIN + TELL)
    for options in ((), ("--no-children",)):
        assert run.told(*ENTRY, *options, "again.py")[0] == "python -m capriccio_patch"


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_a_child_that_is_to_ignore_it_does(run: Runner, option: str) -> None:
    code = "import sys; print(int('capriccio_patch' in sys.modules))"
    start = f"subprocess.run([sys.executable, '{option}', '-c', {code!r}])"
    assert run.told(*ENTRY, run.parent(start)) == 0


@pytest.mark.parametrize("tool", ["pip", "venv", "ensurepip", "virtualenv", "build"])
def test_packaging_tools_and_their_children_are_left_alone(run: Runner, tool: str) -> None:
    (run.directory / f"{tool}.py").write_text(
        "import subprocess, sys\nsubprocess.run([sys.executable, 'tell.py'], check=True)\n"
    )
    start = f"subprocess.run([sys.executable, '-m', '{tool}'])"
    assert run.told(*ENTRY, run.parent(start)) == [None, None, None]


@pytest.mark.parametrize("script", ["setup.py", "_in_process.py"])
def test_so_are_build_back_ends(run: Runner, script: str) -> None:
    (run.directory / script).write_text(TELL)
    start = f"subprocess.run([sys.executable, '{script}'])"
    assert run.told(*ENTRY, run.parent(start)) == [None, None, None]


def test_a_sitecustomize_of_the_program_s_own_runs_too(run: Runner) -> None:
    theirs = run.directory / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("import builtins; builtins.seen = __file__\n")
    (run.directory / "tell.py").write_text(f"{TELL}print(seen)\n")
    path = os.pathsep.join([str(theirs), run.environ["PYTHONPATH"]])
    done = run(*ENTRY, run.parent(STARTS["subprocess"]), PYTHONPATH=path)
    assert done.stderr == ""
    told, seen = done.stdout.splitlines()
    assert json.loads(told)[0] == "parent process"
    assert seen == str(theirs / "sitecustomize.py")


def test_the_path_of_a_child_is_its_own(run: Runner) -> None:
    (run.directory / "tell.py").write_text("import json, sys\nprint(json.dumps(sys.path))\n")
    parent = run.parent(STARTS["subprocess"])
    assert run.told(*ENTRY, parent) == run.told(parent)


def test_a_child_that_does_not_find_the_package_takes_its_parent_s(run: Runner) -> None:
    """As one of a program that was started in the folder of the package has to."""
    code = "import capriccio_patch, json; print(json.dumps(capriccio_patch.status()['patched_by']))"
    # Without `site` there is nothing installed: the dependencies alone are put on the path.
    deps = Path(pytest.importorskip("greenlet").__file__).parents[1]
    told = run.told("-c", code, PYTHONPATH=f"{HOOK}{os.pathsep}{deps}", CAPRICCIO_PATCH="1")
    assert told == "parent process"


def test_a_child_without_what_it_takes_goes_on_unpatched(
    run: Runner, environ: dict[str, str], tmp_path: Path
) -> None:
    other = Environment(tmp_path / "other", environ)
    (other.site_packages / "__borrowed__.pth").unlink()
    start = f"subprocess.run([{other.python!r}, '-c', 'print(1)'], check=True)"
    done = run(*ENTRY, run.parent(start))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "1\n", 1)
    assert done.stderr.startswith("capriccio_patch: this process is not patched: ")
    assert "greenlet" in done.stderr


def test_a_child_whose_settings_are_invalid_goes_on_unpatched(run: Runner) -> None:
    start = "os.environ['CAPRICCIO_SLICE'] = 'soon'; " + STARTS["subprocess"]
    done = run(*ENTRY, run.parent(start))
    assert (json.loads(done.stdout)[0], done.stderr.count("\n")) == (None, 1)
    assert "CAPRICCIO_SLICE='soon': must be" in done.stderr


def test_the_environment_is_put_back(run_script: RunScript) -> None:
    done = run_script("""
        import os, capriccio_patch as c
        before = dict(os.environ)
        c.patch_all(children=True, scheduler="lifo", exclude=["sqlite3"])
        assert os.environ["CAPRICCIO_EXCLUDE"] == "sqlite3"
        assert os.environ["CAPRICCIO_SCHEDULER"] == "lifo"
        os.environ["CAPRICCIO_SCHEDULER"] = "priority"
        c.unpatch_all()
        assert os.environ.pop("CAPRICCIO_SCHEDULER") == "priority"
        assert dict(os.environ) == before
        print("done")
    """)
    assert done.stdout == "done\n"


def test_the_hook_stands_once_in_the_path(run_script: RunScript) -> None:
    done = run_script(
        """
        import os, capriccio_patch as c
        c.patch_all(children=True)
        print(os.environ["PYTHONPATH"].count("hook"))
        """,
        env={"PYTHONPATH": os.pathsep.join([str(HOOK), str(HOOK.parents[2])])},
    )
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"sockio": "poll", "diskio": "workers", "scheduler": "lifo", "seed": 0},
        {"slice": 0, "blocked": "off", "only": (), "exclude": ["time.sleep", "socket"]},
        {"slice": 0.25, "blocked": "2:raise", "only": ["socket"], "offload": ["zlib.crc32"]},
    ],
)
def test_the_variables_make_the_same_settings(arguments: dict[str, Any]) -> None:
    settings = Settings.load({}, **arguments)
    assert Settings.load(settings.variables()).as_dict() == settings.as_dict()


def test_each_process_draws_to_a_file_of_its_own(run: Runner) -> None:
    assert run(*ENTRY, "--graph", "waits.json", run.parent(STARTS["subprocess"])).stderr == ""
    drawn = sorted(path.name for path in run.directory.glob("waits*"))
    assert len(drawn) == 2
    assert drawn[1] == "waits.json"
    assert drawn[0].removeprefix("waits.").removesuffix(".json").isdigit()
