"""What a run found, as a table on the screen and as a part of docs/compatibility.md."""

import platform
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from compat_tests.class_run import EXCLUDED, FAILED, PASSED, SKIPPED, ClassResult

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "compatibility.md"
OUTCOMES = (PASSED, FAILED, SKIPPED, EXCLUDED)

INTRODUCTION = """\
# Compatibility with the standard library

The tables count CPython's own tests, unchanged, run on distpool: in test code, and in the scripts and children that
the tests start, the names `multiprocessing` and `concurrent.futures` stand for `distpool` and `distpool.futures`.
Everything else, distpool included, sees the standard library.

What is run: `test_concurrent_futures` and `test_multiprocessing_main_handling` whole, and of the suite of
`multiprocessing`, under each start method, the classes about pools, initializers and start methods and `MiscTestCase`.
A class runs in a process of its own. A test fails when it takes longer than a minute, and a class when it leaves a
process behind.

Some of the classes are about what distpool takes over from the standard library as it is: `FutureTests`, and the
classes of thread pools and managers. They show that it is there under distpool's names.

*Skipped* tests skip themselves, on the standard library too: they are about another system, another start method, or
switched off by CPython. *Excluded* tests ask about the inside of the standard library or are wrong themselves, and each
has its reason below.

The last table is of the classes about pools of processes, under `forkserver`, with distpool's workers on the two nodes
of a cluster: the same tests, and `DISTPOOL_ADDRESS` set. There tests are excluded too that need the workers' processes
on the program's own machine.

To run them yourself, in a checkout, with a Python that has its `test` package (one built from source has; Debian's is
in `libpython3.X-testsuite`):

```
python -m compat_tests
python -m compat_tests --only 'TestPool' --methods spawn
python -m compat_tests --suite-folder /usr/lib/python3.11/test
python -m compat_tests --cluster
python -m compat_tests --target standard
```

The last line runs the standard library itself, for comparison.
"""


def row(result: ClassResult) -> str:
    """One line of the table on the screen."""
    counts = "".join(f"{result.count(outcome) or '':>9}" for outcome in OUTCOMES)
    return f"{result.test_class.id:78}{counts}{result.duration_s:8.1f} s"


def heading() -> str:
    return f"{'class':78}" + "".join(f"{outcome:>9}" for outcome in OUTCOMES) + f"{'time':>8}"


def total(results: Iterable[ClassResult], duration_s: float) -> str:
    results = list(results)
    counts = "".join(f"{sum(result.count(outcome) for result in results):>9}" for outcome in OUTCOMES)
    return f"{f'{len(results)} classes':78}{counts}{duration_s:8.1f} s"


def failures(results: Iterable[ClassResult]) -> Iterator[str]:
    """Each failed test and each problem of a class, with all that is known of it."""
    for result in results:
        for test, outcome in result.outcomes.items():
            if outcome == FAILED:
                yield f"FAILED {result.test_class.id}.{test}\n{_indented(result.details[test])}"
        for problem in result.problems:
            yield f"PROBLEM {result.test_class.id}\n{_indented(problem)}"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())


def write_document(name: str, results: Iterable[ClassResult]) -> None:
    """Replace the part of the document that has this baseline's name; the others stay."""
    parts = {name: _part(name, list(results))}
    if DOCUMENT.is_file():
        for part_name, part in re.findall(
            r"(?ms)^<!-- begin (\S+) -->\n(.*?)^<!-- end -->\n", DOCUMENT.read_text(encoding="utf-8")
        ):
            parts.setdefault(part_name, part)
    text = INTRODUCTION
    for part_name, part in sorted(parts.items(), key=lambda item: _order(item[0])):
        text += f"\n<!-- begin {part_name} -->\n{part}<!-- end -->\n"
    DOCUMENT.write_text(text, encoding="utf-8")


def _order(name: str) -> tuple[bool, tuple[int, ...]]:
    """Versions in their order, and those of a cluster after all others."""
    version, _, where = name.partition("-")
    return bool(where), tuple(map(int, version.split(".")))


def _part(name: str, results: list[ClassResult]) -> str:
    version, _, where = name.partition("-")
    title = f"Python {version} ({platform.python_version()})"
    lines = [f"## {title}, on two nodes" if where else f"## {title}", ""]
    lines += ["| class | passed | failed | skipped | excluded |", "|---|---|---|---|---|"]
    for result in results:
        counts = " | ".join(str(result.count(outcome) or "") for outcome in OUTCOMES)
        lines.append(f"| {result.test_class.id} | {counts} |")
    totals = " | ".join(f"**{sum(result.count(outcome) for result in results)}**" for outcome in OUTCOMES)
    lines += [f"| **total** | {totals} |", ""]
    for outcome, title in ((FAILED, "Failed"), (EXCLUDED, "Excluded")):
        lines += _listed(results, outcome, title)
    return "\n".join(lines) + "\n"


def _listed(results: list[ClassResult], outcome: str, title: str) -> list[str]:
    """The tests with this outcome, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for result in results:
        for test, outcome_here in result.outcomes.items():
            if outcome_here == outcome:
                reason = result.details.get(test, "") if outcome == EXCLUDED else ""
                by_reason.setdefault(reason, []).append(f"{result.test_class.id}.{test}")
    if not by_reason:
        return []
    lines = [f"### {title}", ""]
    for reason, tests in by_reason.items():
        lines += [f"{reason}:" if reason else "", *(["", *(f"- `{test}`" for test in tests), ""])]
    return lines
