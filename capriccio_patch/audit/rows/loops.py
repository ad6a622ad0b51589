"""asyncio: event loops, also two at once, and what they wait for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from ..scene import DELAY, Scene, row


def _run(scene: Scene, main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return scene.wait(lambda: asyncio.run(main()))


@row("asyncio.run: sleep")
def _(scene: Scene) -> Any:
    return _run(scene, lambda: asyncio.sleep(DELAY, "slept"))


@row("asyncio.run in two threads")
def _(scene: Scene) -> Any:
    """Each sees its own running loop, before and after a wait."""
    loops = set()

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        loops.add(loop)
        for _ in range(4):
            await asyncio.sleep(DELAY / 4)
        return asyncio.get_running_loop() is loop

    same: list[bool] = []
    thread = threading.Thread(target=lambda: same.append(asyncio.run(main())))
    thread.start()
    same.append(_run(scene, main))
    thread.join()
    return same, len(loops)


@row("asyncio.to_thread")
def _(scene: Scene) -> Any:
    return _run(scene, lambda: asyncio.to_thread(time.sleep, DELAY))


@row("asyncio: run_in_executor")
def _(scene: Scene) -> Any:
    async def main() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, time.sleep, DELAY)

    return _run(scene, main)


@row("asyncio: call_soon_threadsafe")
def _(scene: Scene) -> Any:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        threading.Timer(DELAY, loop.call_soon_threadsafe, (future.set_result, "result")).start()
        return await future

    return _run(scene, main)


@row("asyncio.run_coroutine_threadsafe: result")
def _(scene: Scene) -> Any:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever).start()
    future = asyncio.run_coroutine_threadsafe(asyncio.sleep(DELAY, "slept"), loop)
    return scene.wait(future.result)


@row("asyncio.create_subprocess_exec")
def _(scene: Scene) -> Any:
    async def main() -> Any:
        process = await asyncio.create_subprocess_exec("sleep", str(DELAY))
        return await process.wait()

    return _run(scene, main)


@row("asyncio.create_subprocess_shell: communicate")
def _(scene: Scene) -> Any:
    async def main() -> Any:
        process = await asyncio.create_subprocess_shell(
            f"cat; sleep {DELAY}; echo abc; exit 3",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        return await process.communicate(b"input\n"), process.returncode

    return _run(scene, main)


@row("asyncio streams: readline")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    scene.after(there.send, b"abc\n")

    async def main() -> Any:
        reader, writer = await asyncio.open_connection(sock=here)
        line = await reader.readline()
        writer.close()
        return line

    return _run(scene, main)


@row("asyncio: sock_recv")
def _(scene: Scene) -> Any:
    here, there = scene.tcp()
    here.setblocking(False)
    scene.after(there.send, b"abc")

    async def main() -> Any:
        return await asyncio.get_running_loop().sock_recv(here, 10)

    return _run(scene, main)


@row("asyncio.start_server")
def _(scene: Scene) -> Any:
    async def main() -> Any:
        future = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            future.set_result(await reader.read(10))
            writer.close()

        def send() -> None:
            with socket.create_connection(server.sockets[0].getsockname()) as client:
                client.send(b"abc")

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            threading.Timer(DELAY, send).start()
            return await future

    return _run(scene, main)


@row("asyncio: add_signal_handler")
def _(scene: Scene) -> Any:
    scene.after(os.kill, os.getpid(), signal.SIGUSR1)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        event = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, event.set)
        return await event.wait()

    return _run(scene, main)


@row("asyncio: loop.getaddrinfo")
def _(scene: Scene) -> Any:
    async def main() -> Any:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        await asyncio.sleep(DELAY)
        return found[0][4]

    return _run(scene, main)
