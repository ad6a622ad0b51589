"""A library in C keeps the OS thread, and with it all other threads."""

import ctypes
import threading

library = ctypes.CDLL(None)


def resize_picture() -> None:
    library.usleep(1_500_000)


def heartbeat() -> None:
    while not done.wait(0.01):
        pass


done = threading.Event()
threading.Thread(target=heartbeat, name="heartbeat").start()
picture = threading.Thread(target=resize_picture, name="picture")
picture.start()
picture.join()
done.set()
