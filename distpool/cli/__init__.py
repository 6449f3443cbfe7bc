"""The command `distpool`: a head, nodes, what is there, and keys.

Facts go to standard output, with `--json` as one JSON object; errors go to standard error, in one line where that is
possible. Exit codes: 0, 1 for what failed, 2 for a command that makes no sense.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from distpool.base_errors import DistpoolError
from distpool.cli import cleanup, doctor, keys, logs, processes, run, stack, status


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = _parser().parse_args(arguments)
    # The rest is in the logs of heads and nodes.
    shown = logging.StreamHandler()
    shown.setLevel(logging.WARNING)
    logging.basicConfig(format="distpool: %(message)s", level=logging.INFO, handlers=[shown])
    try:
        return int(options.run(options) or 0)
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (DistpoolError, OSError, ValueError) as error:
        print(f"distpool {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="distpool", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (processes, run, status, logs, stack, doctor, cleanup, keys):
        module.add_to(commands)
    return parser
