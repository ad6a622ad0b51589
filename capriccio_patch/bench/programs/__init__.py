"""Plain programs that the benchmarks run; none of them names a runtime.

They know nothing of this package: `launch` starts them under a runtime, by path, and they find each
other because their folder is on the path of the interpreter.
"""
