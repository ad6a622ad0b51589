"""Several processors: kernels beside the main OS thread's, and calls that find their own."""
