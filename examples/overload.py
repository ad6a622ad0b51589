"""A server that may open a tenth of the descriptors that its clients would need.

Plain threads and sockets, a thread for each client. Without a limit it has them all connected at
once. With a tenth of the descriptors, `--scheduler graph` lets a client in when another has left:
each is served, and about as fast. Under `fifo`, as under stock Python, accept fails.

usage: overload.py [CLIENTS [REQUESTS]]             both, beside each other
       overload.py serve | connect ...              one side of it
"""

import resource
import socket
import subprocess
import sys
import threading
import time

import psutil

WORK = 200  # what a request takes to answer


def answer(connection: socket.socket) -> None:
    with connection:
        while request := connection.recv(64):
            total = sum(number * number for number in range(WORK))
            connection.sendall(b"%s %d\n" % (request.strip(), total))


def serve(descriptors: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listener.getsockname()[1], flush=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def connect(port: int, clients: int, requests: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    served = []

    def client() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            for number in range(requests):
                connection.sendall(b"%d\n" % number)
                reply = b""
                while not reply.endswith(b"\n"):
                    received = connection.recv(64)
                    if not received:
                        return
                    reply += received
                assert reply.startswith(b"%d " % number)
        served.append(1)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(served), time.monotonic() - begun)


def measure(scheduler: str, descriptors: int, clients: int, requests: int) -> tuple[int, float]:
    """How many clients were served, and requests a second."""
    patched = [sys.executable, "-m", "capriccio_patch"]
    server = subprocess.Popen(
        [*patched, "--scheduler", scheduler, __file__, "serve", str(descriptors)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stderr is not None
    try:
        port = server.stdout.readline().strip()
        side = [*patched, __file__, "connect", port, str(clients), str(requests)]
        try:
            done = subprocess.run(side, check=False, capture_output=True, text=True, timeout=60)
            served, seconds = done.stdout.split()
        except (subprocess.TimeoutExpired, ValueError):
            served, seconds = "0", "60"
        try:
            usage = psutil.Process(server.pid).cpu_times()
            cpu = usage.user + usage.system
        except psutil.Error:
            cpu = 0.0
    finally:
        server.kill()
        errors = server.communicate()[1]
    last = errors.strip().rpartition("\n")[2]
    rate = int(served) * requests / float(seconds)
    print(
        f"{scheduler:6} {descriptors:5} descriptors: {int(served):5} of {clients} clients served, "
        f"{rate:7.0f} requests/s, server's CPU {cpu:.2f} s{'  ' * bool(last)}{last}",
        flush=True,
    )
    return int(served), rate


def main(clients: int = 1000, requests: int = 20) -> int:
    """0 if every client was served with a tenth of the descriptors."""
    measure("fifo", 2 * clients, clients, requests)
    _, free = measure("graph", 2 * clients, clients, requests)
    served, tight = measure("graph", clients // 10, clients, requests)
    print(f"throughput with a tenth of the descriptors: {tight / free:.0%} of that without a limit")
    return int(served != clients)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(int(sys.argv[2]))
    elif sys.argv[1:2] == ["connect"]:
        connect(*map(int, sys.argv[2:]))
    else:
        sys.exit(main(*map(int, sys.argv[1:])))
