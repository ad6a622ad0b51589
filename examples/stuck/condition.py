"""A thread waits for a change, and who makes the change does not notify it."""

import threading

changed = threading.Condition()
ready = False


def wait_until_ready() -> None:
    with changed:
        threading.Thread(target=get_ready).start()
        while not ready:
            changed.wait()
    print("ready")


def get_ready() -> None:
    global ready
    with changed:
        ready = True


waiting = threading.Thread(target=wait_until_ready)
waiting.start()
