"""Signals: Python handlers run in the main thread, and waits for signals park."""
