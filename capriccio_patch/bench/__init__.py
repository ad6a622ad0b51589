"""Benchmarks: the experiments of the paper, and this runtime beside its peers."""
