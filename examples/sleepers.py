"""Plain threads that each sleep for a second, all at once.

usage: sleepers.py [THREADS]
"""

import sys
import threading
import time


def main(count: int = 10_000) -> None:
    threads = [threading.Thread(target=time.sleep, args=(1,)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{count} threads slept for 1 s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
