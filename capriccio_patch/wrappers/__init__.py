"""What is taken over, one file for each module of the standard library.

Each ends in ``patches(runtime)``: its table of rows, applied by `patching` in order.
"""
