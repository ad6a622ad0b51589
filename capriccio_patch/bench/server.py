"""``python -m capriccio_patch.bench server``: the paper's server, on any runtime, alone."""

from __future__ import annotations

import argparse
import sys

from . import load, options
from .capacity import TooLarge, plan
from .harness import runtimes
from .harness.children import ChildFailed, Children
from .results import Totals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_runtime(parser)
    parser.add_argument("--threads", type=options.threads, default=1000, metavar="N")
    parser.add_argument(
        "--delay", type=options.seconds, default=1.0, metavar="SECONDS", help="before each answer"
    )
    parser.add_argument(
        "--duration", type=options.positive_seconds, metavar="SECONDS", help="default: until Ctrl-C"
    )
    parser.add_argument("--payload", type=options.size, default=1024, metavar="BYTES")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at")
    parser.add_argument(
        "--port", type=options.port, default=8000, help="of the first process; the next follow"
    )
    parser.add_argument(
        "--stack-size", type=int, default=0, metavar="BYTES", help="of each thread (stock alone)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve, and print a line each second; the exit status."""
    if reason := runtimes.missing(args.runtime):
        return options.fail("server", reason)
    try:
        shares = plan(args.runtime, args.threads, clients=False).servers
    except TooLarge as error:
        return options.fail("server", error)
    if args.port and args.port + len(shares) > 1 << 16:
        return options.fail("server", f"{len(shares)} processes need ports beyond 65535")
    what = load.asked(args)
    with Children() as children:
        try:
            _serve(children, what, shares, args.duration)
        except ChildFailed as error:
            return options.fail("server", error)
        except KeyboardInterrupt:
            print()
    return 0


def _serve(children: Children, what: load.Load, shares: list[int], duration: float | None) -> None:
    servers = [
        children.start(f"server {number}", command)
        for number, command in enumerate(load.server_commands(what, shares), 1)
    ]
    ready = load.await_ready(children, servers, lambda _: None)
    ports = " ".join(str(ready[server]["port"]) for server in servers)
    took = max(message["seconds"] for message in ready.values())
    print(
        f"{runtimes.title(what.runtime)}: {what.threads:,} threads in {len(shares)} "
        f"process{'es' if len(shares) > 1 else ''}, started in {took:.2f} s; "
        f"ask by: python -m capriccio_patch.bench client --threads {what.threads} "
        f"--delay {what.delay:g} --ports {ports}"
    )
    print(
        f"{'second':>6} {'answers/s':>10} {'open':>8} {'failed':>7} {'CPU %':>6} {'switches/s':>11}"
    )
    totals = {server: Totals() for server in servers}
    second = 0
    while duration is None or second < duration:
        second += 1
        for child, message in children.read(1):
            totals[child].add(message)
        each = totals.values()
        cpu = sum(it.rate("user") + it.rate("system") for it in each)
        print(
            f"{second:6} {sum(it.rate('answered') for it in each):10,.0f} "
            f"{sum(it.last('open') for it in each):8,.0f} "
            f"{sum(it.last('failed') for it in each):7,.0f} {100 * cpu:6.0f} "
            f"{sum(it.rate('switches') for it in each):11,.0f}"
        )
        sys.stdout.flush()
