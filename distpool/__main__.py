"""The command `python -m distpool`; `distpool.drop_in` knows what it means.

The program that is run takes over the name `__main__` and with it this module's globals: nothing here may be needed
once it runs.
"""

import sys

from distpool.drop_in import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
