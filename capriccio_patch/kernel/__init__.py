"""Which green thread runs, and how it comes to wait: threads and time, no descriptor."""
