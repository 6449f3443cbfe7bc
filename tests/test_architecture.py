"""The shape of the package: sizes, headings, names, import cycles, what `import distpool` loads, unused messages.

What import-linter can say (which layer may import which) stands in setup.cfg. Each rule is a function over source text,
and is tried on a planted violation first, so that a rule that finds nothing is known to look.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "distpool"
MODULE_LINES = 400
FUNCTION_LINES = 100
CLASS_METHODS = 25
NAMED_ELSEWHERE = {"distpool.util"}
"""The name is that of another library, whose users find the same there."""
VAGUE_NAME = re.compile(r"(^|_)(utils?|utilities|common|helpers?|misc)$")
HEAVY = ("cloudpickle", "msgspec", "numpy", "psutil", "zmq")
NOT_OF_TASKS = (
    "asyncio",
    "distpool.actors",
    "distpool.logic.actor",
    "distpool.logic.bundles",
    "distpool.logic.memory_guard",
    "distpool.placement_groups",
    "distpool.runtime.gpus",
)
"""What a program pays for when it first has an actor, a placement group or a GPU, or little memory left."""
NOT_OF_POOLS = (
    *NOT_OF_TASKS,
    "ctypes",
    "distpool.logic.membership",
    "distpool.logic.promises",
    "distpool.logic.questions",
    "distpool.logic.standing",
    "distpool.objects.promises",
    "distpool.progress",
    "distpool.protocol.inquiries",
    "distpool.protocol.link_messages",
    "distpool.protocol.names",
    "distpool.protocol.objects",
    "distpool.protocol.standing",
    "distpool.protocol.transfers",
    "distpool.protocol.upcalls",
    "distpool.roles.naming",
    "distpool.runtime.template",
    "distpool.runtime.up_lane",
    "distpool.runtime.worker",
    "distpool.store.memory",
    "distpool.tasks",
)
"""What belongs to tasks, to clusters, or to the processes of workers."""
NOT_OF_WORKERS = (
    "distpool.pool",
    "distpool.protocol.cluster",
    "distpool.protocol.store",
    "distpool.protocol.upcalls",
    "distpool.roles.client",
    "distpool.roles.head",
    "distpool.runtime.loop",
    "distpool.runtime.up_lane",
    "multiprocessing.pool",
)
"""The program's side, and what a worker has to do with only when its calls have tasks or large values."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path.read_text("utf-8") for path in sorted((ROOT / PACKAGE).rglob("*.py"))}
PACKAGES = {module_name(path) for path in (ROOT / PACKAGE).rglob("__init__.py")}


# ---- the rules


def long_functions(source: str) -> list[str]:
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, Function)]
    lengths = {node: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    return [f"{node.name}: {length} lines" for node, length in lengths.items() if length > FUNCTION_LINES]


def fat_classes(source: str) -> list[str]:
    """Classes with too many methods; a property's getter and setter, or overloads of one name, count once."""
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    methods = {node: len({member.name for member in node.body if isinstance(member, Function)}) for node in classes}
    return [f"{node.name}: {count} methods" for node, count in methods.items() if count > CLASS_METHODS]


def statements_run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node`, without the bodies of functions and of `if TYPE_CHECKING:`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield other
                yield from statements_run_at_import(other)
            continue
        yield child
        yield from statements_run_at_import(child)


def imported_modules(name: str, source: str, modules: set[str], packages: set[str]) -> set[str]:
    """Which of `modules` the module `name` imports when it is imported; its parent packages are not counted."""
    found = set()
    for node in statements_run_at_import(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = name.split(".") if name in packages else name.split(".")[:-1]
                parts = here[: len(here) - node.level + 1] + ([node.module] if node.module else [])
                base = ".".join(parts)
            submodules = {f"{base}.{alias.name}" for alias in node.names} & modules
            found |= submodules
            # `from package import submodule` needs nothing of the package's own namespace.
            if len(submodules) < len(node.names):
                found.add(base)
    return (found & modules) - {name}


def import_cycle(sources: dict[str, str], packages: set[str]) -> list[str]:
    modules = set(sources)
    graph = {name: imported_modules(name, source, modules, packages) for name, source in sources.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def message_classes(source: str) -> set[str]:
    """Classes that derive from `Message`, directly or not, except those that only serve others as a base."""
    bases = {
        node.name: {ast.unparse(base).split(".")[-1] for base in node.bases}
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    }
    family = {"Message"}
    while grown := {name for name, above in bases.items() if above & family} - family:
        family |= grown
    return family - {"Message"} - {base for name in family for base in bases.get(name, ())}


def used_names(source: str) -> set[str]:
    """Names that the code uses; an import alone is no use."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


# ---- each rule finds a planted violation


def test_a_long_function_and_a_fat_class_are_found():
    def methods(count: int) -> str:
        return "class Many:\n" + "".join(f"    def m{number}(self): ...\n" for number in range(count))

    assert long_functions("def f():\n" + "    x = 1\n" * FUNCTION_LINES) == ["f: 101 lines"]
    assert long_functions("def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)) == []
    assert fat_classes(methods(CLASS_METHODS + 1)) == ["Many: 26 methods"]
    assert fat_classes(methods(CLASS_METHODS)) == []


@pytest.mark.parametrize(
    ("last_module", "has_cycle"),
    [
        ("import p.a", True),
        ("from .. import a", True),
        ("from ..a import x", True),
        ("class C:\n    from p.a import x", True),
        ("if TYPE_CHECKING:\n    from p.a import x", False),
        ("def f():\n    from p.a import x", False),
        ("import os", False),
    ],
)
def test_an_import_cycle_is_found_only_among_imports_that_run_at_import(last_module, has_cycle):
    sources = {"p": "", "p.a": "from . import b", "p.b": "from p.q.c import y", "p.q": "", "p.q.c": last_module}
    assert bool(import_cycle(sources, packages={"p", "p.q"})) is has_cycle


def test_messages_are_found_with_their_uses():
    source = "class Message: ...\nclass Sent(Message): ...\nclass Never(base.Sent): ...\nclass Other: ...\n"
    assert message_classes(source) == {"Never"}
    assert used_names("from m import Never\ncase = m.Seen(x)") == {"case", "m", "Seen", "x"}


# ---- the package keeps them


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_is_readable(name):
    source = SOURCES[name]
    assert ast.get_docstring(ast.parse(source)), "the module needs a heading: what it decides, what it leaves to others"
    assert name in NAMED_ELSEWHERE or not VAGUE_NAME.search(name.split(".")[-1]), (
        "the name of a module says which noun it is about"
    )
    assert len(source.splitlines()) <= MODULE_LINES
    assert long_functions(source) == []
    assert fat_classes(source) == []


def test_the_modules_import_each_other_without_a_cycle():
    assert len(SOURCES) > 10, "the package was not found"
    assert import_cycle(SOURCES, PACKAGES) == []


def test_importing_distpool_loads_no_heavy_dependency():
    code = f"import sys, {PACKAGE}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


@pytest.mark.parametrize(
    ("first", "not_needed"),
    [
        ("with distpool.get_context('fork').Pool(2) as pool:\n    pool.map(abs, range(3))", NOT_OF_POOLS),
        ("distpool.get(distpool.remote(abs).remote(-1))", NOT_OF_TASKS),
    ],
    ids=["pool", "task"],
)
def test_a_first_pool_or_task_loads_nothing_that_it_does_not_need(first, not_needed):
    code = f"import sys, {PACKAGE}\n{first}\nprint(*(name for name in {not_needed} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


WORKERS = f"""
import sys, {PACKAGE}

def loaded(_):
    return [name for name in {NOT_OF_WORKERS} if name in sys.modules]

if __name__ == "__main__":
    with {PACKAGE}.get_context(sys.argv[1]).Pool(1) as pool:
        print(*pool.apply(loaded, (None,)))
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_first_pools_worker_loads_nothing_that_it_does_not_need(tmp_path, method):
    script = tmp_path / "script.py"
    script.write_text(WORKERS)
    done = subprocess.run(
        [sys.executable, str(script), method],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")


def test_every_message_is_used_by_a_role_or_the_runtime():
    messages = message_classes(SOURCES["distpool.protocol.messages"])
    users = [source for name, source in SOURCES.items() if name.startswith(("distpool.roles", "distpool.runtime"))]
    assert messages, "no message was found"
    assert messages - set().union(*map(used_names, users)) == set()
