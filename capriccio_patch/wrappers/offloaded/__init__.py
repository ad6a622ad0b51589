"""Calls that nothing can park: a worker makes them while the caller does."""
