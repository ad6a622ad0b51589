"""A server goes on to serve, while each task of a pool waits for another task of that pool."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="pool")
both_have_begun = threading.Barrier(2)


def thumbnail() -> str:
    return "thumbnail"


def page() -> str:
    both_have_begun.wait()
    picture = pool.submit(thumbnail).result()
    return f"page with {picture}"


def serve(client: socket.socket) -> None:
    while data := client.recv(100):
        client.sendall(data)


def ask(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        for _ in range(100_000):
            client.sendall(b"ping")
            client.recv(100)


listener = socket.create_server(("127.0.0.1", 0))
for _ in range(2):
    pool.submit(page)
for _ in range(10):
    threading.Thread(target=ask, args=(listener.getsockname(),), daemon=True).start()
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Event().wait(60)
