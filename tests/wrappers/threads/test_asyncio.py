"""Event loops run in any number of threads at once, each with what is its own."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from capriccio_patch.cpython import originals

THREADS = 8


def in_threads(call: Callable[[int], Any]) -> list[Any]:
    """What `call` returns or raises in each of several threads."""
    results: list[Any] = [None] * THREADS

    def run(n: int) -> None:
        try:
            results[n] = call(n)
        except BaseException as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def run_in_threads(main: Callable[[int], Coroutine[Any, Any, Any]], debug: bool = False) -> None:
    """``asyncio.run(main(n))`` in each of several threads; it has to return n."""
    results = in_threads(lambda n: asyncio.run(main(n), debug=debug and n % 2 == 0))
    assert results == [*range(THREADS)]


@pytest.mark.parametrize("debug", [False, True])
def test_each_thread_has_its_own_running_loop(patched: None, debug: bool) -> None:
    loops = set()

    async def main(n: int) -> int:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        loops.add(loop)
        for _ in range(5):
            await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is asyncio.get_event_loop() is loop
            assert asyncio.current_task() is task
            assert (sys.get_coroutine_origin_tracking_depth() > 0) == loop.get_debug()
            time.sleep(0.001)
            assert asyncio.get_running_loop() is loop
        return n

    run_in_threads(main, debug)
    assert len(loops) == THREADS
    assert sys.get_coroutine_origin_tracking_depth() == 0
    assert asyncio._get_running_loop() is None


def test_no_loop_runs_in_the_thread_beside_one(patched: None) -> None:
    inside = threading.Event()
    seen = threading.Event()

    async def main() -> None:
        inside.set()
        await asyncio.to_thread(seen.wait)

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    inside.wait()
    assert asyncio._get_running_loop() is None
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    seen.set()
    thread.join()


def test_asynchronous_generators_are_closed_by_their_own_loop(patched: None) -> None:
    closed = []

    async def numbers(n: int) -> Any:
        try:
            for i in range(100):
                await asyncio.sleep(0.001)
                yield i
        finally:
            closed.append((n, asyncio.get_running_loop()))

    async def main(n: int) -> int:
        opened.append((n, asyncio.get_running_loop()))
        generator = numbers(n)
        async for i in generator:
            if i == 3:
                break
        left.append(generator)  # for shutdown_asyncgens() to close
        return n

    opened: list[Any] = []
    left: list[Any] = []
    run_in_threads(main)
    assert {*closed} == {*opened}
    assert sys.get_asyncgen_hooks() == (None, None)


def test_a_loop_lets_other_threads_run(ticker: Any) -> None:
    done = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        unblock = ticker().at(3, lambda: loop.call_soon_threadsafe(future.set_result, None))
        with unblock:
            await future
        done.set()

    asyncio.run(main())
    assert done.is_set()


def test_threads_of_executors(patched: None) -> None:
    async def main(n: int) -> int:
        loop = asyncio.get_running_loop()
        me = threading.get_ident()
        others = await asyncio.gather(
            asyncio.to_thread(threading.get_ident),
            loop.run_in_executor(None, lambda: (time.sleep(0.01), threading.get_ident())[1]),
        )
        assert me not in others
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        assert threading.get_ident() == me
        return n

    run_in_threads(main)


def test_a_callback_from_an_os_thread_of_the_programs_own(patched: None) -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def outside() -> None:
            originals.sleep(0.01)
            loop.call_soon_threadsafe(future.set_result, "across")

        originals.start_new_thread(outside, ())
        return await future  # type: ignore[no-any-return]

    assert asyncio.run(main()) == "across"


def test_a_coroutine_is_handed_to_the_loop_of_another_thread(patched: None) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def where() -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    assert asyncio.run_coroutine_threadsafe(where(), loop).result() == thread.ident
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_streams(patched: None) -> None:
    async def main(n: int) -> int:
        async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write((await reader.readline()).upper())
            writer.close()

        server = await asyncio.start_server(shout, "127.0.0.1", 0)
        async with server:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"hello\n")
            assert await reader.read() == b"HELLO\n"
            writer.close()
        return n

    run_in_threads(main)


def test_a_stream_to_a_plain_thread(patched: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.recv(100).upper())

        thread = threading.Thread(target=serve)
        thread.start()

        async def main() -> bytes:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"hello")
            data = await reader.read()
            writer.close()
            return data

        assert asyncio.run(main()) == b"HELLO"
        thread.join()


def test_subprocesses(patched: None) -> None:
    async def main(n: int) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-SEc", "import sys; print(sys.stdin.read() * 2)", stdin=-1, stdout=-1
        )
        output, _ = await process.communicate(str(n).encode())
        assert process.returncode == 0
        return int(output) % 10

    run_in_threads(main)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["ThreadedChildWatcher", "PidfdChildWatcher"])
def test_child_watchers(patched: None, kind: str) -> None:
    if not hasattr(asyncio, kind):
        pytest.skip("not in this version")
    watcher = getattr(asyncio, kind)()
    asyncio.set_child_watcher(watcher)
    try:

        async def main() -> int:
            process = await asyncio.create_subprocess_exec(sys.executable, "-Ec", "exit(7)")
            return await process.wait()

        assert asyncio.run(main()) == 7
    finally:
        asyncio.set_child_watcher(None)


def test_a_loop_that_runs_already_when_the_patch_comes(run_script: Any) -> None:
    run_script(
        """
        import asyncio, threading

        async def main():
            loop = asyncio.get_running_loop()
            import capriccio_patch
            capriccio_patch.patch_all()
            seen = []
            thread = threading.Thread(target=lambda: seen.append(asyncio._get_running_loop()))
            thread.start()
            thread.join()
            assert seen == [None]
            assert asyncio.get_running_loop() is loop
            assert await asyncio.to_thread(lambda: 5) == 5
            inner = threading.Thread(target=lambda: seen.append(asyncio.run(other())))
            inner.start()
            while inner.is_alive():
                await asyncio.sleep(0.001)
            assert asyncio.get_running_loop() is loop
            assert seen[1:] == [6]

        async def other():
            await asyncio.sleep(0.001)
            return 6

        asyncio.run(main())
        """
    )
