"""C libraries that wait: which there are, and how each is made to let other threads run."""
