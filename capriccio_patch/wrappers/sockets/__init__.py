"""Sockets, names, TLS and ``select``."""
