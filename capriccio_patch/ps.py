"""python -m capriccio_patch.ps: what the threads of a running program do; see `diagnosis.ps`."""

from __future__ import annotations

import sys

from .diagnosis.ps import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
