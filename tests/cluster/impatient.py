"""The command `distpool` whose nodes give a head up after `LIMIT_S`: `python -m tests.cluster.impatient`."""

import sys

import msgspec

from distpool.cli import main, processes
from distpool.config import SETTINGS

LIMIT_S = 3.0
IMPATIENT = msgspec.structs.replace(SETTINGS, head_gone_limit_s=LIMIT_S)

if __name__ == "__main__":
    processes.SETTINGS = IMPATIENT
    sys.exit(main())
