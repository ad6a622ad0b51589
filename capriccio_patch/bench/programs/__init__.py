"""Plain threaded programs that the benchmarks run; none of them names a runtime."""
