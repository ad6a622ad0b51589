"""A task of a pool waits for another task of the same pool, for which no thread is left."""

from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pool")


def thumbnail() -> str:
    return "thumbnail"


def page() -> str:
    picture = pool.submit(thumbnail).result()
    return f"page with {picture}"


print(pool.submit(page).result())
