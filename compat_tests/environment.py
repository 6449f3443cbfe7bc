"""What every interpreter of a run gets: the redirection, the target, and the `test` package that the suites are in."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
SITE_FOLDER = Path(__file__).resolve().parent / "site"
STANDARD = "standard"

# A `test` package of two folders: what the given one lacks, helpers for instance, comes from the interpreter's own.
TEST_PACKAGE = '"""The suites and their helpers."""\n\n__path__ = {folders!r}\n'


@dataclass(frozen=True)
class Environment:
    """`command` runs `compat_tests.one_class` with these `variables`; `folders` hold the `test` package, in order."""

    command: list[str]
    variables: dict[str, str]
    folders: list[Path]


@contextmanager
def prepared(target: str, suite_folder: Path | None) -> Iterator[Environment]:
    """The environment for as long as the block lasts. A target of "standard" redirects nothing."""
    folders = [*([suite_folder.resolve()] if suite_folder else []), *_own_test_folders()]
    with TemporaryDirectory(prefix="compat-") as folder:
        search_path = [str(SITE_FOLDER), str(ROOT)]
        if suite_folder:
            package = Path(folder) / "test"
            package.mkdir()
            text = TEST_PACKAGE.format(folders=[str(folder) for folder in folders])
            (package / "__init__.py").write_text(text, encoding="utf-8")
            search_path.insert(0, folder)
        variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        variables["PYTHONPATH"] = os.pathsep.join(search_path)
        if target != STANDARD:
            variables["COMPAT_TARGET"] = target
        yield Environment([sys.executable, "-m", "compat_tests.one_class"], variables, folders)


def _own_test_folders() -> list[Path]:
    """The folders of the interpreter's `test` package; none where it is not installed."""
    try:
        import test
    except ImportError:
        return []
    return [Path(folder) for folder in test.__path__]
