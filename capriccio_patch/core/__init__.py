"""The compiled core: the hot paths in C, over the same objects as the Python that they stand for.

`table` says which function of C stands for which of Python, `binding` puts them in place.  Where
there is no C module, or it does not fit, the package runs in Python.
"""
