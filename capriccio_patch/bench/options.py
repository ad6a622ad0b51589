"""Options that several commands share, with the checks that make absurd values errors."""

from __future__ import annotations

import argparse
import ipaddress
import sys
from importlib.util import find_spec
from pathlib import Path

from .harness.runtimes import THREADED, find

MOST_THREADS = 16_000_000  # addresses in 127.0.0.0/8: one for each client thread


def threaded(text: str) -> str:
    """The name of a runtime that has threads."""
    name = _runtime(text)
    if name not in THREADED:
        raise argparse.ArgumentTypeError(f"{text!r} has no threads; {', '.join(THREADED)} have")
    return name


def runtime_list(text: str) -> list[str]:
    """Names of runtimes, between commas."""
    return [_runtime(name) for name in text.split(",")]


def _runtime(text: str) -> str:
    try:
        return find(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """A whole number above zero."""
    value = int(text) if text.isdecimal() else 0
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return value


def threads(text: str) -> int:
    """A number of threads: positive, and not beyond what there are addresses for."""
    try:
        value = int(text.replace(",", "").replace("_", ""))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads") from None
    if not 0 < value <= MOST_THREADS:
        raise argparse.ArgumentTypeError(
            f"{text} is out of range: from 1 to {MOST_THREADS:,} threads"
        )
    return value


def seconds(text: str) -> float:
    """A time, not negative, of a day at most."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text} is out of range: from 0 to 86,400 seconds")
    return value


def positive_seconds(text: str) -> float:
    """A time above zero."""
    value = seconds(text)
    if not value:
        raise argparse.ArgumentTypeError("it must be more than 0 seconds")
    return value


def size(text: str) -> int:
    """Bytes of an answer: at least one, a GiB at most."""
    value = int(text) if text.isdecimal() else 0
    if not 0 < value <= 1 << 30:
        raise argparse.ArgumentTypeError(f"{text!r} is no size from 1 to {1 << 30} bytes")
    return value


def port(text: str) -> int:
    """A TCP port, or 0 for any that is free."""
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is no port from 0 to 65535")
    return value


def network(text: str) -> str:
    """A network of source addresses; empty: as the system chooses."""
    if text:
        try:
            if ipaddress.ip_network(text).num_addresses < 3:
                raise ValueError(f"{text} holds too few addresses")
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return text


def default_network() -> str:
    """All of 127.0.0.0/8 where it is all this machine's, which is so on Linux alone."""
    return "127.0.0.0/8" if sys.platform == "linux" else ""


def add_addresses(parser: argparse.ArgumentParser) -> None:
    """Where clients come from."""
    parser.add_argument(
        "--addresses",
        type=network,
        default=default_network(),
        metavar="NETWORK",
        help="of the clients, one for each thread (default: %(default)s)",
    )


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """The runtime of a program, and what capriccio may be asked for."""
    parser.add_argument(
        "--runtime",
        type=threaded,
        default="capriccio",
        metavar="NAME",
        help=f"one of {', '.join(THREADED)} (default: %(default)s)",
    )
    add_schemes(parser)


def add_runtimes(parser: argparse.ArgumentParser, kept: str) -> None:
    """The runtimes to measure one after the other, and where `kept`, a file, is to lie."""
    parser.add_argument(
        "--runtimes",
        nargs="+",
        type=threaded,
        default=THREADED,
        metavar="NAME",
        help=f"of {', '.join(THREADED)} (default: all)",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help=f"keep {kept} there")


def add_schemes(parser: argparse.ArgumentParser) -> None:
    """The I/O scheme and the scheduler of capriccio."""
    parser.add_argument("--sockio", metavar="NAME", help="capriccio's I/O scheme for sockets")
    parser.add_argument("--scheduler", metavar="NAME", help="capriccio's scheduling policy")


def need(*modules: str) -> str | None:
    """What to install if one of `modules`, of the extra ``bench``, is not there; else None."""
    for module in modules:
        if find_spec(module) is None:
            return f"needs {module}: pip install 'capriccio_patch[bench]'"
    return None


def fail(command: str, message: object) -> int:
    """Print why `command` can't do what was asked for; the exit status."""
    print(f"bench {command}: error: {message}", file=sys.stderr)
    return 2
