"""The start-up hook, by which each interpreter of an environment patches itself if asked to.

``hook`` holds the files that ``python -m capriccio_patch.sitecustomize install`` copies into an
environment's ``site-packages``.  They run before any other code of the program, in interpreters
that are not to be patched as well, so they are no part of the package that they import.
"""
