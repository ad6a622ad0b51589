"""Descriptors, disks and worker threads: what a green thread waits for outside the process.

No name of the standard library is known here: those are the wrappers'.
"""
