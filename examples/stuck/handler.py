"""A signal handler takes a lock that the code which it interrupts holds."""

import os
import signal
import threading

statistics = threading.Lock()
requests = 0


def show(signum: int, frame: object) -> None:
    with statistics:
        print(requests)


signal.signal(signal.SIGUSR1, show)
with statistics:
    requests += 1
    os.kill(os.getpid(), signal.SIGUSR1)
