"""`python -m distpool program`: the program behaves as under `python program`, and its process pools are distpool's."""

import os
import signal
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

import distpool

PACKAGE_FOLDER = Path(distpool.__file__).parent.parent
RUN_BY_DISTPOOL = ["-m", "distpool"]


def run(folder: Path, *command: str, found_by_path: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `python command…` in `folder`; standard input is empty, the output is captured."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if found_by_path:
        environment["PYTHONPATH"] = str(PACKAGE_FOLDER)
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_same_both_ways(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    by_python = run(folder, *command)
    by_distpool = run(folder, *RUN_BY_DISTPOOL, *command)
    assert by_distpool.stdout == by_python.stdout
    assert by_distpool.stderr == by_python.stderr
    assert by_distpool.returncode == by_python.returncode
    return by_distpool


def run_lines(folder: Path, source: str) -> list[str]:
    """The lines printed by a script run by distpool, which must end well and silently."""
    (folder / "script.py").write_text(source)
    done = run(folder, *RUN_BY_DISTPOOL, "script.py")
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


SCRIPTS = {
    "normal": "print('hello')",
    "raises": "def f():\n    1 / 0\n\nf()",
    "nested raise": """
try:
    {}["key"]
except KeyError as error:
    raise ValueError("outer") from error
""",
    "raise while handling": """
try:
    int("x")
except ValueError:
    raise RuntimeError("while handling")
""",
    "exception group": "raise ExceptionGroup('two', [ValueError(1), TypeError(2)])",
    "error with a note": "error = ValueError('x')\nerror.add_note('a note')\nraise error",
    "error without message": "assert False",
    "exit with a number": "import sys\nsys.exit(3)",
    "exit with nothing": "import sys\nsys.exit()",
    "exit with None": "raise SystemExit(None)",
    "exit with text": "import sys\nsys.exit('text')",
    "exit with an object": "import sys\nsys.exit(['a', 1])",
    "exit in atexit order": "import atexit\natexit.register(print, 'bye')\nprint('hello')\nraise SystemExit(4)",
    "error and atexit": "import atexit\natexit.register(print, 'bye')\nraise ValueError('x')",
    "os._exit": "import os\nprint('lost?', flush=True)\nos._exit(5)",
    "syntax error": "x = = 1",
    "unclosed bracket": "print(1)\nx = [1,\n",
    "bad indentation": "if True:\nprint(1)",
    "syntax error in an import": "import broken",
    "missing import": "import no_such_module",
    "other encoding": "# -*- coding: latin-1 -*-\nprint(ascii('\u00e9'))",
    "future import": "from __future__ import annotations\ndef f(x: no_such_name): pass\nprint(f.__annotations__)",
    "arguments": "import sys\nprint(sys.argv)",
    "places": "import sys, os\nprint(__file__, sys.path[0], os.getcwd())",
    "globals": "print(sorted(globals()), __name__, __doc__, __package__, __spec__, __builtins__)",
    "docstring": "'''What it says.'''\nprint(__doc__)",
    "loader": "print(type(__loader__).__name__, __loader__.get_source('__main__'))",
    "main module": "import sys, __main__\nx = 1\nprint(__main__.x, sys.modules['__main__'] is __main__)",
    "pickle of a main class": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)",
    "import of a neighbour": "import neighbour\nprint(neighbour.__name__)",
    "own excepthook": """
import sys
sys.excepthook = lambda kind, value, traceback: print(kind, value, traceback.tb_lineno, traceback.tb_next)
raise ValueError("x")
""",
    "last traceback": """
import atexit, sys, traceback
atexit.register(lambda: print(traceback.format_tb(sys.last_traceback), sys.excepthook is sys.__excepthook__))
raise ValueError("x")
""",
    "error in a thread": "import threading\nthreading.Thread(target=lambda: 1 / 0, name='t').start()",
    "thread outlives main": """
import threading, time
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
print("main")
""",
    "keyboard interrupt": "raise KeyboardInterrupt",
    "recursion": "def f(): f()\ntry:\n    f()\nexcept RecursionError as error:\n    print('recursion')",
    "standard input": "import sys\nprint(repr(sys.stdin.read()))",
    "warning": "import warnings\nwarnings.warn('careful', UserWarning)",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_behaves_as_under_python(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "script.py").write_text(SCRIPTS[name], encoding="latin-1")
    (folder / "neighbour.py").touch()
    (folder / "broken.py").write_text("x = = 1")
    assert_same_both_ways(tmp_path, "a folder/script.py", "-v", "two words", "--", "-m")


def test_the_comparison_sees_frames_and_codes(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("def f():\n    1 / 0\n\nf()")
    done = run(tmp_path, *RUN_BY_DISTPOOL, "script.py")
    assert done.stderr.count("File ") == 2
    assert "ZeroDivisionError" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("path", ["./script.py", "../{folder}/script.py", "link.py", "{full}/script.py"])
def test_a_script_sees_its_path_as_under_python(path: str, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for folder in (tmp_path, real):
        (folder / "script.py").write_text("import sys\nprint(__file__, sys.argv, sys.path[0])\n1 / 0")
    (tmp_path / "link.py").symlink_to(real / "script.py")
    assert_same_both_ways(tmp_path, path.format(folder=tmp_path.name, full=tmp_path))


def test_a_compiled_script_runs(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import sys\nprint(sorted(globals()), type(__loader__), sys.argv)")
    run(tmp_path, "-c", "import py_compile; py_compile.compile('script.py', 'script.pyc')")
    assert "SourcelessFileLoader" in assert_same_both_ways(tmp_path, "script.pyc", "a").stdout


def test_ctrl_c_ends_a_script_by_the_signal(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\ninput()")
    assert assert_same_both_ways(tmp_path, "script.py").returncode == -signal.SIGINT


def test_a_script_that_cannot_be_read_gives_pythons_message(tmp_path: Path) -> None:
    done = assert_same_both_ways(tmp_path, "missing.py")
    assert done.returncode == 2
    assert "can't open file" in done.stderr
    (tmp_path / "folder").mkdir()
    assert "can't find '__main__' module" in assert_same_both_ways(tmp_path, "folder").stderr


MAIN_PRINTING_ITS_PLACE = """
import sys
print(__file__, __name__, __package__, sys.argv, sys.path[0], sorted(globals()))
"""


def test_a_module_a_package_a_folder_and_an_archive_run_as_under_python(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    for path in (tmp_path / "module.py", package / "__main__.py"):
        path.write_text(MAIN_PRINTING_ITS_PLACE + "1 / 0")
    zipapp.create_archive(package, tmp_path / "archive.pyz")
    assert_same_both_ways(tmp_path, "-m", "module", "a", "-b")
    assert_same_both_ways(tmp_path, "-m", "package", "a")
    assert_same_both_ways(tmp_path, "package", "a")
    assert_same_both_ways(tmp_path, "archive.pyz", "a")
    assert_same_both_ways(tmp_path, "-m", "missing")


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_the_script_in_a_process_behaves_as_under_python(start_method: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(f"""
import multiprocessing, os, sys

def target(word):
    print(word, __name__, __file__, sys.argv, sys.path[0], os.path.basename(os.getcwd()), flush=True)
    sys.exit(7)

if __name__ == "__main__":
    child = multiprocessing.get_context("{start_method}").Process(target=target, args=("word",))
    child.start()
    child.join()
    print(child.exitcode)
""")
    assert "word" in assert_same_both_ways(tmp_path, "script.py", "a").stdout


@pytest.mark.parametrize(
    ("command", "exit_code", "text"),
    [
        ([], 2, "no program given"),
        (["-m"], 2, "argument expected for the -m option"),
        (["--fast"], 2, "unknown option '--fast'; valid ones: -h, --help, --version, -m"),
        (["--help"], 0, "usage: python -m distpool"),
        (["-h"], 0, "usage: python -m distpool"),
        (["--version"], 0, "distpool"),
    ],
)
def test_the_command_explains_itself(command: list[str], exit_code: int, text: str, tmp_path: Path) -> None:
    done = run(tmp_path, *RUN_BY_DISTPOOL, *command)
    assert done.returncode == exit_code
    assert text in (done.stderr if exit_code else done.stdout)


NAMES = """
import concurrent.futures, concurrent.futures.process, multiprocessing, multiprocessing.pool
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.pool import Pool
names = [Pool, multiprocessing.pool.Pool, ProcessPoolExecutor, concurrent.futures.process.ProcessPoolExecutor]
"""


def test_every_way_to_a_process_pool_leads_to_distpools(tmp_path: Path) -> None:
    assert set(run_lines(tmp_path, NAMES + "for name in names: print(name.__module__.split('.')[0])")) == {"distpool"}


def test_pools_made_by_functions_and_contexts_are_distpools_and_work(tmp_path: Path) -> None:
    lines = run_lines(
        tmp_path,
        """
import multiprocessing

def square(x):
    return x * x

if __name__ == "__main__":
    contexts = [multiprocessing, multiprocessing.get_context()]
    contexts += [multiprocessing.get_context(name) for name in ("fork", "spawn", "forkserver")]
    for context in contexts:
        with context.Pool(1) as pool:
            print(type(pool).__module__, pool.map(square, [1, 2, 3]))
""",
    )
    assert lines == ["distpool.drop_in [1, 4, 9]"] * 5


def test_an_executor_with_a_standard_context_works(tmp_path: Path) -> None:
    lines = run_lines(
        tmp_path,
        """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        print(type(executor).__module__, list(executor.map(abs, [-1, 2])))
""",
    )
    assert lines == ["distpool.futures.process [1, 2]"]


def test_thread_pools_stay_as_they_are(tmp_path: Path) -> None:
    lines = run_lines(
        tmp_path,
        """
import multiprocessing.dummy, threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

def name_of_process(_):
    return multiprocessing.current_process().name

print(issubclass(ThreadPool, multiprocessing.pool.Pool), isinstance([], multiprocessing.pool.Pool))
for make in (ThreadPool, multiprocessing.dummy.Pool):
    with make(2) as pool:
        print(pool.map(abs, [-1, -2]), pool.apply(name_of_process, (0,)), list(pool.imap(abs, [-3])), make.__module__)
with ThreadPoolExecutor(2) as executor:
    print(list(executor.map(abs, [-1])))
""",
    )
    assert lines == [
        "True False",
        "[1, 2] MainProcess [3] multiprocessing.pool",
        "[1, 2] MainProcess [3] multiprocessing.dummy",
        "[1]",
    ]


def test_a_script_may_subclass_and_patch_the_pool(tmp_path: Path) -> None:
    lines = run_lines(
        tmp_path,
        """
import multiprocessing, multiprocessing.pool
from unittest import mock

class Doubling(multiprocessing.pool.Pool):
    def map(self, *args):
        return [2 * value for value in super().map(*args)]

if __name__ == "__main__":
    with Doubling(1) as pool:
        print(pool.map(abs, [-1, 2]))
    with mock.patch("multiprocessing.pool.Pool") as Pool:
        print(multiprocessing.Pool() is Pool.return_value)
    print(multiprocessing.pool.Pool.__module__)
""",
    )
    assert lines == ["[2, 4]", "True", "distpool.drop_in"]


CHILD_WITH_A_POOL = (
    NAMES
    + """
import sys

def child(method, depth):
    print({name.__module__.split(".")[0] for name in names})
    with ProcessPoolExecutor(1) as executor:
        print(type(executor).__module__, list(executor.map(abs, [-1, 2])), flush=True)
    if depth:
        start_child(method, depth - 1)

def start_child(method, depth):
    process = multiprocessing.get_context(method).Process(target=child, args=(method, depth))
    process.start()
    process.join()
    assert process.exitcode == 0

if __name__ == "__main__":
    start_child("METHOD", 1)
"""
)


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_children_and_their_children_get_the_replacement(start_method: str, tmp_path: Path) -> None:
    lines = run_lines(tmp_path, CHILD_WITH_A_POOL.replace("METHOD", start_method))
    assert lines == ["{'distpool'}", "distpool.futures.process [1, 2]"] * 2


@pytest.mark.parametrize("start_method", ["spawn", "forkserver"])
def test_the_replacement_reaches_workers(start_method: str, tmp_path: Path) -> None:
    lines = run_lines(
        tmp_path,
        f"""{NAMES}
def modules(_):
    return {{name.__module__.split(".")[0] for name in names}}

if __name__ == "__main__":
    with multiprocessing.get_context("{start_method}").Pool(1) as pool:
        print(pool.map(modules, [0]))
""",
    )
    assert lines == ["[{'distpool'}]"]


def test_children_find_distpool_where_only_the_current_folder_had_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(CHILD_WITH_A_POOL.replace("METHOD", "spawn"))
    done = run(PACKAGE_FOLDER, *RUN_BY_DISTPOOL, str(script), found_by_path=False)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.splitlines() == ["{'distpool'}", "distpool.futures.process [1, 2]"] * 2


def test_children_find_distpool_from_another_folder_without_the_environment(tmp_path: Path) -> None:
    leave = "import os\n    os.chdir('/')\n    os.environ.pop('PYTHONPATH', None)"
    source = CHILD_WITH_A_POOL.replace("METHOD", "spawn").replace('"__main__":\n', f'"__main__":\n    {leave}\n')
    assert run_lines(tmp_path, source) == ["{'distpool'}", "distpool.futures.process [1, 2]"] * 2


def test_the_fork_server_imports_other_modules_in_advance_but_not_the_script(tmp_path: Path) -> None:
    lines = run_lines(
        tmp_path,
        """
from multiprocessing import forkserver, resource_tracker, util

def start_and_show(executable, arguments, descriptors, start=util.spawnv_passfds):
    print("__main__" in arguments[-1], "json" in arguments[-1])
    return start(executable, arguments, descriptors)

if __name__ == "__main__":
    resource_tracker.ensure_running()
    forkserver.set_forkserver_preload(["__main__", "json"])
    util.spawnv_passfds = start_and_show
    forkserver.ensure_running()
    print(forkserver._forkserver._preload_modules)
""",
    )
    assert lines == ["False True", "['__main__', 'json']"]


def test_nothing_is_replaced_by_imports(tmp_path: Path) -> None:
    imports = "import distpool, distpool.pool, distpool.futures, distpool.drop_in\n"
    check = "assert not any(name.__module__.startswith('distpool') for name in names), names"
    done = run(tmp_path, "-c", imports + NAMES + check)
    assert (done.stderr, done.returncode) == ("", 0)


def test_replacing_twice_is_replacing_once(tmp_path: Path) -> None:
    lines = run_lines(
        tmp_path,
        """
import multiprocessing.spawn
from distpool.drop_in import replace_pools
before = multiprocessing.spawn.get_preparation_data
replace_pools()
print(multiprocessing.spawn.get_preparation_data is before)
""",
    )
    assert lines == ["True"]
