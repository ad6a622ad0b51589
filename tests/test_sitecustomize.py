"""The start-up hook and its installer, in a scratch environment of its own."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "sitecustomize_example"
HOOK = ROOT / "capriccio_patch/sitecustomize/hook"
STATE = "import capriccio_patch; print(capriccio_patch.is_patched('time.sleep'))"

spec = importlib.util.spec_from_file_location("autopatch", HOOK / "capriccio_autopatch.py")
assert spec is not None
assert spec.loader is not None
autopatch = importlib.util.module_from_spec(spec)
spec.loader.exec_module(autopatch)


class Environment:
    """A virtual environment whose interpreters see this tree and the packages it needs."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        venv.EnvBuilder(with_pip=False, symlinks=True).create(directory)
        self.python = str(directory / "bin" / "python")
        self.environ = {k: v for k, v in environ.items() if k != "PYTHONPATH"}
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self.site_packages = directory / "lib" / version / "site-packages"
        # Stands for an installation; sorts before capriccio_patch.pth, as an installation's does.
        borrowed = "\n".join([str(ROOT), sysconfig.get_path("platlib")])
        (self.site_packages / "__borrowed__.pth").write_text(borrowed + "\n")

    def __call__(
        self, *args: str, patch: str | None = "1", **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        environ = self.environ | environ
        if patch is not None:
            environ["CAPRICCIO_PATCH"] = patch
        return subprocess.run(
            [self.python, *args], env=environ, capture_output=True, text=True, timeout=60
        )

    def install(self, *args: str) -> "subprocess.CompletedProcess[str]":
        return self("-m", "capriccio_patch.sitecustomize", "install", *args, patch=None)

    def is_patched(self, *args: str, **environ: str) -> bool:
        """Whether a child that runs `args`, or STATE, says so; nothing else may be printed."""
        done = self(*(args or ("-c", STATE)), **environ)
        assert (done.returncode, done.stderr) == (0, "")
        return {"True\n": True, "False\n": False}[done.stdout]


@pytest.fixture
def bare(tmp_path: Path, environ: dict[str, str]) -> Environment:
    return Environment(tmp_path / "environment", environ)


@pytest.fixture(params=["--pth", "--sitecustomize"])
def env(bare: Environment, request: pytest.FixtureRequest) -> Environment:
    done = bare.install(request.param)
    assert (done.returncode, done.stderr) == (0, "")
    return bare


def test_patches_if_and_only_if_asked_to(env: Environment) -> None:
    assert env.is_patched()
    for patch in (None, "", "0"):
        done = env("-c", STATE, patch=patch)
        assert (done.stdout, done.stderr) == ("False\n", "")


def test_unasked_it_imports_nothing_of_ours(env: Environment) -> None:
    done = env("-c", "import sys; print([m for m in sys.modules if 'capr' in m])", patch=None)
    assert set(done.stdout) <= set("['capriccio_autopatch']\n")


def test_settings_come_from_the_environment(env: Environment) -> None:
    assert env.is_patched(CAPRICCIO_EXCLUDE="time.sleep") is False


@pytest.mark.parametrize("option", ["-I", "-E"])
def test_an_interpreter_that_ignores_the_environment_is_not_patched(
    env: Environment, option: str
) -> None:
    assert env.is_patched(option, "-c", STATE) is False
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STATE!r}], check=True)"
    assert env.is_patched(option, "-c", child)


@pytest.mark.parametrize("option", ["-I", "-E"])
def test_nor_do_settings_of_the_environment_count(env: Environment, option: str) -> None:
    """Where it is patched by other means."""
    args = (option, "-m", "capriccio_patch", "-c", STATE)
    assert env.is_patched(*args, CAPRICCIO_EXCLUDE="time.sleep", CAPRICCIO_UNKNOWN="1")
    assert env.is_patched(*args, CAPRICCIO_SCHEDULER="none such")


@pytest.mark.parametrize("args", [(), ("--sitecustomize",)])
def test_the_worked_example_installs_the_same(bare: Environment, args: tuple[str, ...]) -> None:
    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in bare.site_packages.glob("*.p*")}

    before = files()
    told = bare.install(*args).stdout
    installed = files()
    assert before.keys() < installed.keys()
    bare.install("--uninstall")
    assert files() == before
    done = bare(str(EXAMPLE / "install.py"), *args, patch=None)
    assert (done.stdout, done.stderr, files()) == (told, "", installed)


def test_the_program_finds_modules_of_its_own(env: Environment, tmp_path: Path) -> None:
    names = ("queue", "resource", "token", "typing", "wrapt")
    for name in names:
        (tmp_path / f"{name}.py").write_text("WHO = 'own'")
    script = tmp_path / "script.py"
    found = " and ".join(f"{name}.WHO == 'own'" for name in names)
    script.write_text(f"import {', '.join(names)}\nprint({found})\n")
    assert env.is_patched(str(script))


def test_children_inherit_it(env: Environment) -> None:
    run = f"subprocess.run([sys.executable, '-c', {STATE!r}], check=True)"
    parent = f"import subprocess, sys; {run}"
    assert env.is_patched("-c", parent)


def test_a_spawned_process_inherits_it(env: Environment, tmp_path: Path) -> None:
    script = tmp_path / "spawns.py"
    script.write_text(
        "import multiprocessing\n"
        f"def state():\n    {STATE}\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=state)\n"
        "    child.start()\n"
        "    child.join()\n"
    )
    assert env.is_patched(str(script))


def test_the_program_may_still_be_run_by_python_dash_m(env: Environment) -> None:
    assert env.is_patched("-m", "capriccio_patch", "-c", STATE)
    assert env.is_patched("-m", "capriccio_patch", "--exclude=time.sleep", "-c", STATE) is False


@pytest.mark.parametrize(
    ("command", "tool"),
    [
        ("python -m pip install x", "pip"),
        ("python -Im pip", "pip"),
        ("python -W error -X dev -mpip", "pip"),
        ("python -Werror -BX utf8 -m pip.__main__", "pip"),
        ("python -m ensurepip --upgrade", "ensurepip"),
        ("python -m venv x", "venv"),
        ("python /x/bin/pip3.12 install x", "pip"),
        ("python -I /x/bin/pip list", "pip"),
        ("python -- /x/bin/pip list", "pip"),
        ("python --check-hash-based-pycs always -m pip", "pip"),
        ("python /x/app.py -m pip", "app.py"),
        ("python - pip", "-"),
        ("python -c pip", ""),
        ("python -c pass -m pip", ""),
        ("python -m pipx", "pipx"),
        ("python -m app pip", "app"),
        ("python", ""),
    ],
)
def test_the_command_line_is_read_as_python_reads_it(command: str, tool: str) -> None:
    assert autopatch._tool(command.split()) == tool


@pytest.mark.parametrize("tool", ["pip", "venv", "ensurepip"])
@pytest.mark.parametrize("how", ["module", "script"])
def test_packaging_tools_and_their_children_are_left_alone(
    env: Environment, tmp_path: Path, tool: str, how: str
) -> None:
    path = tmp_path / (f"{tool}.py" if how == "module" else tool)
    path.write_text(
        f"import subprocess, sys\n{STATE}\n"
        f"print(subprocess.run([sys.executable, '-c', {STATE!r}], capture_output=True).stdout)\n"
    )
    args = ["-m", tool] if how == "module" else [str(path)]
    done = env(*args, PYTHONPATH=str(tmp_path))
    assert (done.stdout, done.stderr) == ("False\nb'False\\n'\n", "")


def test_a_real_environment_can_be_made(env: Environment, tmp_path: Path) -> None:
    done = env("-m", "venv", "--without-pip", str(tmp_path / "made"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "made" / "bin" / "python").exists()


BROKEN = {
    "raises": "def patch_all():\n    raise RuntimeError('two\\nlines')",
    "exits": "def patch_all():\n    raise SystemExit('no')",
    "lacks": "",
    "syntax": "def",
    "imports": "import does_not_exist",
}


@pytest.mark.parametrize("how", BROKEN)
def test_no_failure_stops_python(env: Environment, tmp_path: Path, how: str) -> None:
    (tmp_path / "capriccio_patch.py").write_text(BROKEN[how])
    done = env("-c", "print('ran')", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("capriccio_patch: this process is not patched: ")


def test_a_bad_setting_does_not_stop_python(env: Environment) -> None:
    done = env("-c", "print('ran')", CAPRICCIO_SOCKIO="nonsense")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "ran\n", 1)
    assert "nonsense" in done.stderr


def test_a_closed_standard_error_does_not_stop_python(env: Environment) -> None:
    command = ["sh", "-c", f"{env.python} -c 'print(1)' 2>&-"]
    environ = env.environ | {"CAPRICCIO_PATCH": "1", "CAPRICCIO_SOCKIO": "nonsense"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n")


@pytest.fixture
def hidden(bare: Environment, tmp_path: Path) -> Callable[[str], Environment]:
    """Returns a function: the environment with our sitecustomize hiding one of the given text."""
    later = tmp_path / "later"
    later.mkdir()
    (bare.site_packages / "later.pth").write_text(f"{later}\n")

    def make(text: str) -> Environment:
        done = bare.install("--sitecustomize")
        assert (done.returncode, done.stderr) == (0, "")
        (later / "sitecustomize.py").write_text(text)
        return bare

    return make


@pytest.mark.parametrize("patch", [None, "1"])
def test_a_hidden_sitecustomize_runs_as_itself(
    hidden: Callable[[str], Environment], patch: str | None
) -> None:
    env = hidden("import builtins; builtins.seen = (__name__, __file__); here = True\n")
    code = "import sitecustomize; print(seen, sitecustomize.here, sitecustomize.__file__)"
    done = env("-c", code, patch=patch)
    path = env.site_packages.parents[3] / "later" / "sitecustomize.py"
    expected = f"('sitecustomize', {str(path)!r}) True {path}\n"
    assert (done.stdout, done.stderr) == (expected, "")


def test_the_errors_of_a_hidden_sitecustomize_are_reported_as_ever(
    hidden: Callable[[str], Environment],
) -> None:
    env = hidden("raise RuntimeError('of the hidden one')")
    done = env("-c", STATE)
    assert (done.returncode, done.stdout) == (0, "True\n")
    assert "Error in sitecustomize" in done.stderr
    assert "RuntimeError: of the hidden one" in done.stderr


def test_uninstall_leaves_nothing(env: Environment) -> None:
    def files() -> set[str]:
        return {path.name for path in env.site_packages.rglob("*") if path.is_file()}

    assert env.is_patched()
    assert files() > {"__borrowed__.pth"}
    done = env.install("--uninstall")
    assert (done.returncode, done.stderr) == (0, "")
    assert files() == {"__borrowed__.pth"}
    assert env.is_patched() is False


def test_somebody_elses_sitecustomize_is_neither_overwritten_nor_removed(bare: Environment) -> None:
    theirs = bare.site_packages / "sitecustomize.py"
    theirs.write_text("x = 1\n")
    done = bare.install("--sitecustomize")
    assert done.returncode == 1
    assert "use --pth" in done.stderr
    bare.install("--uninstall")
    assert theirs.read_text() == "x = 1\n"


def test_an_earlier_sitecustomize_would_win_so_installing_is_refused(
    bare: Environment, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text("")
    bare.environ["PYTHONPATH"] = str(tmp_path)
    done = bare.install("--sitecustomize")
    assert done.returncode == 1
    assert str(tmp_path / "sitecustomize.py") in done.stderr


def test_it_is_installed_only_into_virtual_environments(environ: dict[str, str]) -> None:
    base = os.path.realpath(sys.executable)
    environ["PYTHONPATH"] += os.pathsep + sysconfig.get_path("platlib")
    done = subprocess.run(
        [base, str(EXAMPLE / "install.py")], env=environ, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "not in a virtual environment" in done.stderr
