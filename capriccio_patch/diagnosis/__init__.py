"""What a person asks of a running program: who waits for what, and since when.

Everything is computed when it is asked for, from what threads and objects are anyway.
"""
