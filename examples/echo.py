"""Plain threads and sockets: an echo server with a thread for each client, and the clients.

usage: echo.py [CLIENTS [ROUNDS]]
"""

import resource
import socket
import sys
import threading

MESSAGE = b"x" * 64


def echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(1024):
            connection.sendall(data)


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=echo, args=(connection,), daemon=True).start()


def client(port: int, rounds: int, all_connected: threading.Barrier) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        all_connected.wait()
        for _ in range(rounds):
            connection.sendall(MESSAGE)
            missing = len(MESSAGE)
            while missing:
                missing -= len(connection.recv(missing))


def main(clients: int = 2000, rounds: int = 10) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # two descriptors for each client
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    all_connected = threading.Barrier(clients)
    args = (listener.getsockname()[1], rounds, all_connected)
    threads = [threading.Thread(target=client, args=args) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{clients * rounds} messages echoed to {clients} clients")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
