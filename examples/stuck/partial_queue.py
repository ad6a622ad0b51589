"""A server goes on to serve, while two of its threads wait for each other to begin."""

import queue
import socket
import threading

orders: queue.Queue[str] = queue.Queue()
receipts: queue.Queue[str] = queue.Queue()


def pack() -> None:
    while True:
        order = orders.get()
        receipts.put(f"packed {order}")


def bill() -> None:
    while True:
        receipt = receipts.get()
        orders.put(f"next after {receipt}")


def serve(client: socket.socket) -> None:
    while data := client.recv(100):
        client.sendall(data)


def ask(address: tuple[str, int]) -> None:
    with socket.create_connection(address) as client:
        for _ in range(100_000):
            client.sendall(b"ping")
            client.recv(100)


listener = socket.create_server(("127.0.0.1", 0))
for target in (pack, bill):
    threading.Thread(target=target, daemon=True).start()
for _ in range(10):
    threading.Thread(target=ask, args=(listener.getsockname(),), daemon=True).start()
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
threading.Event().wait(60)
