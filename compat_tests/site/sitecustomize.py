"""In test code, `multiprocessing` and `concurrent.futures` mean the target package; everywhere else they stay standard.

Every interpreter that a run starts finds this module through PYTHONPATH: the one that runs a class, the children of any
start method, and the scripts and `python -c` lines of the tests. COMPAT_TARGET names the target; without it nothing
changes. Test code is every module of the `test` package but its helpers, and what runs as a program (`__main__`, and
`__mp_main__` in a child), unless it belongs to the target or to the runner.

`multiprocessing.X` is `TARGET.X` and `concurrent.futures.X` is `TARGET.futures.X`, without a way back to the standard
module when the target lacks it. Only the modules of the standard library that are its own machinery are left standard:
tests use them to prepare and to clean up.
"""

import builtins
import os
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

TARGET = os.environ.get("COMPAT_TARGET", "")

MACHINERY = frozenset(
    {
        "concurrent.futures._base",
        "multiprocessing.forkserver",
        "multiprocessing.heap",
        "multiprocessing.popen_fork",
        "multiprocessing.popen_forkserver",
        "multiprocessing.popen_spawn_posix",
        "multiprocessing.reduction",
        "multiprocessing.resource_sharer",
        "multiprocessing.resource_tracker",
        "multiprocessing.spawn",
        "multiprocessing.util",
    }
)

TEST_HELPERS = ("test.support", "test.libregrtest")
NOT_TEST_CODE = frozenset({TARGET.partition(".")[0], "compat_tests", "distpool"})

_standard_import = builtins.__import__


def import_for_tests(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> ModuleType:
    """`builtins.__import__`: test code gets the target, all other code the standard module."""
    # A list comes from C code such as pickle's, which then looks the module up under its own name.
    if (
        level == 0
        and globals is not None
        and not isinstance(fromlist, list)
        and name.partition(".")[0] in ("multiprocessing", "concurrent")
        and is_test_code(globals)
    ):
        return import_from_target(name, fromlist)
    return _standard_import(name, globals, locals, fromlist, level)


def is_test_code(module_globals: dict[str, Any]) -> bool:
    name = module_globals.get("__name__", "")
    if name in ("__main__", "__mp_main__"):
        spec = module_globals.get("__spec__")
        return spec is None or spec.name.partition(".")[0] not in NOT_TEST_CODE
    return name == "test" or (name.startswith("test.") and not name.startswith(TEST_HELPERS))


def import_from_target(name: str, fromlist: tuple[str, ...] | None) -> ModuleType:
    """What the statement `import name` or `from name import fromlist` gets."""
    module = find(name)
    if not fromlist:
        return bind_parents(name, module)
    for item in fromlist:
        if not hasattr(module, item) and is_submodule(f"{name}.{item}"):
            setattr(module, item, find(f"{name}.{item}"))
    return module


def find(name: str) -> ModuleType:
    """The module that test code gets under a standard name. Raises ImportError when the target has none."""
    if name in MACHINERY:
        return import_module(name)
    if name == "concurrent":
        return concurrent
    if name.startswith("concurrent."):
        return import_module(TARGET + name.removeprefix("concurrent"))
    module = import_module(TARGET + name.removeprefix("multiprocessing"))
    if name == "multiprocessing" and not hasattr(module, "util"):
        # The tests use it without importing it: in the standard package most submodules bring it along.
        setattr(module, "util", import_module("multiprocessing.util"))  # noqa: B010
    return module


def is_submodule(name: str) -> bool:
    """Whether a name that a package lacks so far is a module that could be imported from it."""
    if name in MACHINERY:
        return True
    try:
        find(name)
    except ImportError:
        return False
    return True


def bind_parents(name: str, module: ModuleType) -> ModuleType:
    """Make `module` reachable through its packages, as an import statement does, and return the outermost."""
    parent_name, _, last = name.rpartition(".")
    while parent_name:
        parent = find(parent_name)
        setattr(parent, last, module)
        module = parent
        parent_name, _, last = parent_name.rpartition(".")
    return module


if TARGET:
    concurrent = ModuleType("concurrent")
    builtins.__import__ = import_for_tests
    sys.modules.setdefault("compat_tests_redirection", sys.modules[__name__])
