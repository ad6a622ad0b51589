"""Workers take jobs from a queue, and nobody tells them that there are no more."""

import queue
import threading

jobs: queue.Queue[str] = queue.Queue()


def work() -> None:
    while True:
        job = jobs.get()
        print("done:", job)


workers = [threading.Thread(target=work, name=f"worker-{number}") for number in range(100)]
for worker in workers:
    worker.start()
for job in ("first", "second", "third"):
    jobs.put(job)
for worker in workers:
    worker.join()
