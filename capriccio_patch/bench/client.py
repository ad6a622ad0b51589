"""``python -m capriccio_patch.bench client``: the paper's clients, alone.

They run on this package's runtime unless another is asked for, in processes of at most 2,000
threads, as the paper's did, lest they be the bottleneck.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from . import load, options
from .capacity import TooLarge, plan
from .harness import runtimes
from .harness.children import ChildFailed, Children
from .results import Totals, percentile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    options.add_runtime(parser)
    parser.add_argument("--threads", type=options.threads, default=1000, metavar="N")
    parser.add_argument("--host", default="127.0.0.1", help="the server's address")
    parser.add_argument(
        "--ports", type=options.port, nargs="+", default=[8000], metavar="PORT", help="the server's"
    )
    parser.add_argument(
        "--delay", type=options.seconds, default=1.0, metavar="SECONDS", help="the server's"
    )
    parser.add_argument(
        "--duration", type=options.positive_seconds, default=20.0, metavar="SECONDS"
    )
    options.add_addresses(parser)
    parser.add_argument(
        "--process-threads",
        type=options.threads,
        default=2000,
        metavar="N",
        help="threads in each process (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=options.positive_seconds,
        default=60.0,
        metavar="SECONDS",
        help="to wait beyond the delay (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Ask for `duration`, and print a line each second; the exit status."""
    if reason := runtimes.missing(args.runtime):
        return options.fail("client", reason)
    try:
        shares = plan(args.runtime, args.threads, servers=False, each=args.process_threads).clients
    except TooLarge as error:
        return options.fail("client", error)
    what = load.asked(args, client_runtime=args.runtime)
    totals: list[Totals] = []
    status = 0
    with Children() as children:
        try:
            _ask(children, what, shares, args.ports, args.duration, totals)
        except ChildFailed as error:
            status = options.fail("client", error)
        except KeyboardInterrupt:
            print()
    return _conclude(totals) or status


def _ask(
    children: Children,
    what: load.Load,
    shares: list[int],
    ports: list[int],
    duration: float,
    totals: list[Totals],
) -> None:
    clients = [
        children.start(f"client {number}", [*command, f"--duration={duration}"])
        for number, command in enumerate(load.client_commands(what, shares, ports), 1)
    ]
    load.await_ready(children, clients, lambda _: None)
    of = {client: Totals() for client in clients}
    totals += of.values()
    begin = time.time()
    for client in clients:
        client.tell(str(begin))
    print(f"{'second':>6} {'answers/s':>10} {'KiB/s':>8} {'open':>8} {'failed':>7}")
    second = 0
    while children.running() and second <= duration + 5:
        second += 1
        for child, message in children.read(1):
            of[child].add(message)
        print(
            f"{second:6} {sum(it.rate('answers') for it in totals):10,.0f} "
            f"{sum(it.rate('bytes') for it in totals) / 1024:8,.0f} "
            f"{sum(it.last('open') for it in totals):8,.0f} "
            f"{sum(sum(it.failures.values()) for it in totals):7,}"
        )
        sys.stdout.flush()


def _conclude(totals: list[Totals]) -> int:
    """Print what all clients saw; 1 if that is no answer at all."""
    took: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for each in totals:
        failures.update(each.failures)
        for _, counts in each.took:
            took.update(counts)
    answers = sum(each.last("answers") for each in totals)
    print(f"{answers:,.0f} answers, {sum(failures.values()):,} failures", end="")
    if median := percentile(took, 0.5):
        print(f"; beyond the delay: median {median * 1000:.1f} ms, ", end="")
        print(f"99 % within {(percentile(took, 0.99) or 0) * 1000:.1f} ms", end="")
    print()
    for kind, count in failures.most_common():
        print(f"    {count:,} times {kind}")
    return 0 if answers else 1
