"""The wheel holds all that README uses, and works where nothing else of this tree is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

pytest.importorskip("build.__main__")

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "capriccio_patch"
SOURCES = ("capriccio_patch", "pyproject.toml", "setup.py", "README.md", "LICENSE")
STATE = "import capriccio_patch; print(capriccio_patch.is_patched('time.sleep'))"


def run(*args: str, cwd: Path, **environ: str) -> str:
    """What a command prints; it sees nothing of this tree by the environment."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CAPRICCIO_", "PYTHON"))}
    done = subprocess.run(args, cwd=cwd, env=clean | environ, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the tree: what building leaves behind, a later one would take in."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(path, source / name, ignore=left_out)
        else:
            shutil.copyfile(path, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", cwd=source)
    (found,) = (source / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of a fresh environment with the wheel in it; what that depends on is
    borrowed."""
    directory = tmp_path_factory.mktemp("environment")
    venv.EnvBuilder(with_pip=False, symlinks=True).create(directory)
    python = str(directory / "bin/python")
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--no-index", "--no-deps", str(wheel), cwd=directory)
    site_packages = run(
        python, "-c", "import site; print(site.getsitepackages()[0])", cwd=directory
    )
    borrowed = Path(site_packages.strip()) / "borrowed.pth"
    borrowed.write_text(sysconfig.get_path("platlib") + "\n")
    return python


def test_it_holds_the_package_and_nothing_else(wheel: Path) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }
    with ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    built = {name for name in found if name.endswith(".so")}
    assert found - built == expected
    assert len(built) == (shutil.which("cc") is not None)
    assert "capriccio_patch/py.typed" in found


def test_without_a_compiler_it_is_built_all_the_same(tmp_path: Path) -> None:
    for name in SOURCES:
        (tmp_path / name).symlink_to(ROOT / name)
    command = ("setup.py", "-q", "build", "--build-base", str(tmp_path / "b"))
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=os.environ | {"CC": "no-such-compiler"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "no compiled core" in line]
    assert len(told) == 1
    assert "no-such-compiler" in told[0]
    assert not list((tmp_path / "b").rglob("*.so"))
    assert list((tmp_path / "b").rglob("kernel.c"))


def test_it_runs_a_program(python: str, tmp_path: Path) -> None:
    file = run(
        python, "-c", "import capriccio_patch; print(capriccio_patch.__file__)", cwd=tmp_path
    )
    assert not Path(file).is_relative_to(ROOT)
    assert run(python, "-m", "capriccio_patch", "-c", STATE, cwd=tmp_path) == "True\n"


@pytest.mark.parametrize("program", ["capriccio_patch", "capriccio_patch.audit"])
def test_it_holds_the_programs(python: str, tmp_path: Path, program: str) -> None:
    assert run(python, "-m", program, "--help", cwd=tmp_path).startswith("usage: ")


def test_it_holds_the_benchmarks(python: str, tmp_path: Path) -> None:
    assert "usage" in run(python, "-m", "capriccio_patch.bench", "--help", cwd=tmp_path)


@pytest.mark.parametrize("how", ["--pth", "--sitecustomize"])
def test_it_holds_the_start_up_hook(python: str, tmp_path: Path, how: str) -> None:
    installer = (python, "-m", "capriccio_patch.sitecustomize", "install")
    run(*installer, how, cwd=tmp_path)
    try:
        assert run(python, "-c", STATE, cwd=tmp_path, CAPRICCIO_PATCH="1") == "True\n"
        assert run(python, "-c", STATE, cwd=tmp_path) == "False\n"
    finally:
        run(*installer, "--uninstall", cwd=tmp_path)
    assert run(python, "-c", STATE, cwd=tmp_path, CAPRICCIO_PATCH="1") == "False\n"
