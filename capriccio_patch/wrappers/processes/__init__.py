"""Child processes, semaphores between processes, and signals."""
