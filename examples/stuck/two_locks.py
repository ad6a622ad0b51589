"""Two threads take two locks, each in its own order."""

import threading

checking = threading.Lock()
savings = threading.Lock()
both_have_one = threading.Barrier(2)


def save() -> None:
    with checking:
        both_have_one.wait()
        with savings:
            print("saved")


def spend() -> None:
    with savings:
        both_have_one.wait()
        with checking:
            print("spent")


for target in (save, spend):
    threading.Thread(target=target).start()
