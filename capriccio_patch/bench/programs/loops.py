"""python loops.py echo | yields_N SECONDS: the same by callbacks and coroutines of an event loop.

The loop is the one that the runtime has installed.
"""

from __future__ import annotations

import asyncio
import sys
import time

from parent import lives, say  # type: ignore[import-not-found]


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.write = transport.write  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.write(data)


async def echo() -> None:
    """Serve until the parent process has ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    while lives():
        await asyncio.sleep(1)


async def yields(n: int, tasks: int) -> float:
    """asyncio.sleep(0) by some tasks; the CPU seconds of `n`."""

    async def loop() -> None:
        for _ in range(n // tasks):
            await asyncio.sleep(0)

    started = time.process_time()
    await asyncio.gather(*[loop() for _ in range(tasks)])
    return time.process_time() - started


def main() -> None:
    """Run what the arguments say."""
    if sys.argv[1] == "echo":
        asyncio.run(echo())
        return
    n, tasks = 1000, int(sys.argv[1].removeprefix("yields_"))
    while (took := asyncio.run(yields(n, tasks))) < float(sys.argv[2]) / 2:
        n *= 2
    say(**{sys.argv[1]: took / n})


if __name__ == "__main__":
    main()
