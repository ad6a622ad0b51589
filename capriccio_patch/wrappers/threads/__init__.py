"""Threads, locks, conditions and queues: ``_thread``, ``threading``, ``queue``, ``sys``."""
