"""Which classes of CPython's suites are run, under which start methods, and where the interpreter has them.

What the suites hold differs by Python version, so it is asked of the suites themselves, in a process of their own.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

METHODS = ("fork", "forkserver", "spawn")
LISTING_LIMIT_S = 60

# Of the suite of multiprocessing, which the three modules test_multiprocessing_METHOD install for their start method.
MULTIPROCESSING_CLASSES = re.compile(
    r"With(Processes|Manager|Threads)TestPool|WithProcessesTestPoolWorker(Errors|Lifetime)|TestPoolNotLeakOnFailure"
    r"|TestInitializers|TestStartMethod|MiscTestCase"
)
ANY_CLASS = re.compile(r".*")
# Those whose pools are of processes: all others know nothing of a cluster.
CLUSTER_CLASSES = re.compile(r"ProcessPool\w+|WithProcessesTestPool\w*|TestPoolNotLeakOnFailure|TestInitializers")
METHOD_IN_CLASS = re.compile(r"Fork[Ss]erver|Fork|Spawn")


@dataclass(frozen=True)
class Suite:
    """One suite: a module of the `test` package or, in newer versions, a package of modules."""

    name: str
    classes: re.Pattern[str] = ANY_CLASS
    method: str = ""


SUITES = (
    Suite("test_concurrent_futures"),
    Suite("test_multiprocessing_main_handling"),
    *(Suite(f"test_multiprocessing_{method}", MULTIPROCESSING_CLASSES, method) for method in METHODS),
)


@dataclass(frozen=True)
class TestClass:
    """One class of a suite and its tests."""

    suite: str
    module: str
    name: str
    tests: tuple[str, ...]

    @property
    def id(self) -> str:
        """The same in all versions, whether the suite is a module or a package of modules."""
        return f"{self.suite}.{self.name}"


@dataclass(frozen=True)
class Listing:
    """What was found of the suites; `unusable` has the name of each that could not be imported, with the reason."""

    classes: tuple[TestClass, ...]
    missing: tuple[str, ...]
    unusable: Mapping[str, str]


def list_classes(command: list[str], environment: Mapping[str, str], folders: Iterable[Path]) -> Listing:
    """Ask each suite for its classes; `command` runs `compat_tests.one_class`, `folders` hold the `test` package."""
    found: list[TestClass] = []
    missing = []
    unusable = {}
    folders = list(folders)
    for suite in SUITES:
        modules = sorted(_modules(suite.name, folders))
        if not modules:
            missing.append(suite.name)
        for module in modules:
            listed = subprocess.run(
                [*command, "list", module],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LISTING_LIMIT_S,
            )
            if listed.returncode != 0:
                unusable[module] = (listed.stderr.strip().splitlines() or [f"exit status {listed.returncode}"])[-1]
                continue
            for name, tests in json.loads(listed.stdout.splitlines()[-1]).items():
                if suite.classes.fullmatch(name):
                    found.append(TestClass(suite.name, module, name, tuple(tests)))
    return Listing(tuple(found), tuple(missing), unusable)


def _modules(suite: str, folders: list[Path]) -> Iterator[str]:
    """The modules of a suite, from the first folder that has it."""
    for folder in folders:
        if (folder / f"{suite}.py").is_file():
            yield f"test.{suite}"
            return
        if (folder / suite).is_dir():
            yield from (f"test.{suite}.{path.stem}" for path in (folder / suite).glob("test_*.py"))
            return


def start_method_of(test_class: TestClass) -> str:
    """The start method that a class is about; empty when about none, as the classes of thread pools."""
    for suite in SUITES:
        if suite.name == test_class.suite and suite.method:
            return suite.method
    match = METHOD_IN_CLASS.search(test_class.name)
    return match.group().lower() if match else ""
