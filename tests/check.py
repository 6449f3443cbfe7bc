"""Run every check of the project, one after the other.

    python tests/check.py [--tests-only] [pytest arguments ...]

Each check gets a headline and its elapsed time. All checks run even when one failed; the exit status is 1 when any
failed. pytest comes last, so that its summary is the last line of a run that passed. `--tests-only` runs pytest alone,
for the further Python versions.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PYTHON = [sys.executable, "-m"]
# import-linter has no `python -m` entry, and its script need not be on PATH.
LINT_IMPORTS = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-logo"]

# A check that takes longer hangs, for instance in a test's interpreter that does not exit.
TIME_LIMIT_S = 450


def main(arguments: list[str]) -> int:
    tests_only = "--tests-only" in arguments
    pytest_arguments = [argument for argument in arguments if argument != "--tests-only"]
    checks = {} if tests_only else static_checks()
    checks["pytest"] = [*PYTHON, "pytest", *pytest_arguments]
    failed = [name for name, command in checks.items() if not passes(name, command)]
    if failed:
        print(f"\nFAILED: {', '.join(failed)}", flush=True)
    return 1 if failed else 0


def static_checks() -> dict[str, list[str]]:
    return {
        "ruff check": [*PYTHON, "ruff", "check", "."],
        "ruff format --check": [*PYTHON, "ruff", "format", "--check", "."],
        "mypy": [*PYTHON, "mypy"],
        "lint-imports": LINT_IMPORTS,
    }


def passes(name: str, command: list[str]) -> bool:
    print(f"\n=== {name} (Python {sys.version.split()[0]})", flush=True)
    started = time.monotonic()
    try:
        status = subprocess.run(command, cwd=ROOT, timeout=TIME_LIMIT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"{name} was stopped after {TIME_LIMIT_S} s", flush=True)
        return False
    # pytest prints its own time, in the summary that must stay last.
    if status != 0 or name != "pytest":
        print(
            f"--- {name}: {'ok' if status == 0 else f'exit status {status}'}, {time.monotonic() - started:.1f} s",
            flush=True,
        )
    return status == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
