"""What the random programs are made of: plain functions and classes, copied into the programs.

Every module here is ordinary code that a program gets by copying the source of what it uses, with
the imports that it needs (`embedding`); so a program stands alone.  Three rules hold for all of it:

1. What a part returns is the same under stock Python whatever the interleaving.
2. No part relies on the end of a pipe being seen while processes that have inherited it live on;
   one that does says ``eof=True`` and is not put beside long-lived forks.
3. What runs in finalizers takes no lock but one RLock of its own, under which no other is taken.
"""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
