"""What `bench peers` runs: plain programs, the same source for every runtime that has threads.

They know nothing of this package: `launch` starts them under a runtime, by path.
"""
