"""Installs the start-up hook into the virtual environment whose Python runs this, or removes it.

    python sitecustomize_example/install.py [--pth | --sitecustomize] [--uninstall] [--force]

README.md tells step by step what that does.
"""

import sys

from capriccio_patch.sitecustomize.__main__ import main

if __name__ == "__main__":
    main(["install", *sys.argv[1:]])
