"""The main thread waits for a thread that waits for what the main thread would do afterwards."""

import threading

stop = threading.Event()


def flush_until_stopped() -> None:
    while not stop.is_set():
        stop.wait()


flusher = threading.Thread(target=flush_until_stopped, name="flusher")
flusher.start()
flusher.join()
stop.set()
