"""Installs the start-up hook into the virtual environment whose Python runs this, or removes it.

    python -m capriccio_patch.sitecustomize install
        [--pth | --sitecustomize] [--uninstall] [--force]

From then on each interpreter of that environment patches itself if CAPRICCIO_PATCH=1.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import sysconfig
from importlib.machinery import PathFinder
from importlib.util import cache_from_source
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SOURCE = Path(__file__).resolve().parent / "hook"
_HELPER = "capriccio_autopatch.py"
_PTH = "capriccio_patch.pth"
_SITECUSTOMIZE = "sitecustomize.py"


def _is_ours(path: Path) -> bool:
    return path.name == _HELPER or "capriccio_autopatch" in path.read_text(errors="replace")


def install(site_packages: Path, hook: str) -> None:
    """Copy `hook` (a file name) and what it needs; SystemExit, and no change, if it cannot work."""
    if hook == _SITECUSTOMIZE:
        # [0] is there for this program alone. What is found earlier wins over ours (Debian has one
        # in its standard library); what lies in the same place is not ours to overwrite.
        first = 0 if sys.flags.safe_path else 1
        entries = sys.path[first : sys.path.index(str(site_packages)) + 1]
        spec = PathFinder.find_spec("sitecustomize", entries)
        if spec is not None and spec.origin and not _is_ours(Path(spec.origin)):
            raise SystemExit(f"{spec.origin} is in the way of a sitecustomize of ours; use --pth")
    for name in (_HELPER, hook):
        shutil.copyfile(_SOURCE / name, site_packages / name)
        print(f"installed {site_packages / name}")


def uninstall(site_packages: Path) -> None:
    """Remove every file of ours, and nothing else."""
    for name in (_PTH, _SITECUSTOMIZE, _HELPER):
        path = site_packages / name
        if path.is_file() and _is_ours(path):
            path.unlink()
            Path(cache_from_source(str(path))).unlink(missing_ok=True)
            print(f"removed {path}")


def main(args: Sequence[str]) -> None:
    """Do what the command line `args` says."""
    parser = argparse.ArgumentParser(
        prog="python -m capriccio_patch.sitecustomize",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument("action", choices=["install"])
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--pth", dest="hook", action="store_const", const=_PTH, help="a .pth file (the default)"
    )
    how.add_argument(
        "--sitecustomize",
        dest="hook",
        action="store_const",
        const=_SITECUSTOMIZE,
        help="a sitecustomize module, which runs the one that it hides",
    )
    parser.add_argument("--uninstall", action="store_true", help="remove what was installed")
    parser.add_argument("--force", action="store_true", help="also outside a virtual environment")
    arguments = parser.parse_args(args)
    if sys.prefix == sys.base_prefix and not arguments.force:
        parser.error(f"{sys.executable} is not in a virtual environment (--force to go on)")
    site_packages = Path(sysconfig.get_path("purelib"))
    if arguments.uninstall:
        uninstall(site_packages)
    else:
        install(site_packages, arguments.hook or _PTH)


if __name__ == "__main__":
    main(sys.argv[1:])
