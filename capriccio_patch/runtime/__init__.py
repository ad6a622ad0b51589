"""The kernel of the runtime: threads, parking, timers, and what other OS threads may ask of it."""
