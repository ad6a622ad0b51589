"""A server goes on to serve, while two of its threads wait for each other."""

import socket
import threading

users = threading.Lock()
log = threading.RLock()
both_have_one = threading.Barrier(2)
told = threading.Event()


def rename() -> None:
    with users:
        both_have_one.wait()
        with log:
            print("renamed")


def rotate() -> None:
    with log:
        both_have_one.wait()
        with users:
            print("rotated")


def serve(client: socket.socket) -> None:
    while data := client.recv(100):
        client.sendall(data)


def ask(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        for _ in range(100_000):
            client.sendall(b"ping")
            client.recv(100)


listener = socket.create_server(("127.0.0.1", 0))
for target in (rename, rotate):
    threading.Thread(target=target, daemon=True).start()
for _ in range(10):
    threading.Thread(target=ask, args=(listener.getsockname(),), daemon=True).start()
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Event().wait(60)
