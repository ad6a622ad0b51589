"""python -m capriccio_patch.bench COMMAND: each command is a module of this package.

A command's module offers ``add_arguments(parser)`` and ``run(args) -> int`` (the exit status), and
is imported only when it is asked for.
"""

from __future__ import annotations

import argparse
import signal
import sys
from importlib import import_module

COMMANDS = {
    "server": "the paper's server, alone",
    "client": "the paper's clients, alone",
    "paper": "the paper's experiments, with a report",
    "limits": "how many threads can be created",
    "micro": "the primitives: creation, switches, locks, pipes",
    "report": "the report of what was measured before",
    "schemes": "the socket I/O schemes beside each other",
    "peers": "this runtime beside stock threads, gevent, eventlet, asyncio and uvloop",
    "fairness": "an echo server beside threads that use files, or compute",
    "overhead": "what preemption costs those who need none",
    "processors": "several kernels in a process beside one",
    "compare": "two results of `peers` side by side",
}


def main(args: list[str]) -> int:
    """Run the command that `args` name; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m capriccio_patch.bench",
        description="Measures the runtime beside others, and repeats the paper's experiments.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands (COMMAND --help tells of its options):\n"
        + "\n".join(f"  {name:10}  {meaning}" for name, meaning in COMMANDS.items()),
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    command = parser.parse_args(args[:1]).command
    module = import_module(f"{__package__}.{command}")
    parser = argparse.ArgumentParser(
        prog=f"python -m capriccio_patch.bench {command}", description=COMMANDS[command] + "."
    )
    module.add_arguments(parser)
    options = parser.parse_args(args[1:])
    # To be told to end is to be interrupted: children are ended, and what was measured is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(module.run(options))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
