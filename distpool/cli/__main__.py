"""`python -m distpool.cli` is the command `distpool`."""

import sys

from distpool.cli import main

if __name__ == "__main__":
    sys.exit(main())
