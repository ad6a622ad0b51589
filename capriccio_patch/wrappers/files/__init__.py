"""Descriptors, paths, file objects and locks on files."""
