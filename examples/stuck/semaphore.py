"""A pool of permits: an error keeps one for good each time, until there are none."""

import threading

permits = threading.Semaphore(2)


def fetch(number: int) -> None:
    permits.acquire()
    if number % 2:
        print(f"{number}: an error")
        return
    permits.release()


for number in range(6):
    threading.Thread(target=fetch, args=(number,), name=f"fetch-{number}").start()
