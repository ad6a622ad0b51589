"""What servers, workers and test runners ask for by name: one module for each of them.

They are programs on top of the package: they use its public names alone, and each is imported only
by the tool that it is for.
"""
