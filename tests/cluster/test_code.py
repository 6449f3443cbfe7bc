"""Programs whose files their nodes do not have: what is shipped, how often, and what is said when something lacks."""

import os
import signal
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.cluster.processes import Cluster
from tests.cluster.projects import Project, kept, received
from tests.runtime.programs import LIMIT_S

PROGRAM = {
    "train.py": """
        import os, shutil, sys
        import distpool, helper
        from package import module

        LEVEL = 3
        seen = []

        def begin(value):
            seen.append(value)

        def local(x):
            return x * LEVEL, seen, os.path.basename(__file__), os.path.dirname(os.path.abspath(__file__)) == HERE

        HERE = os.path.dirname(os.path.abspath(__file__))

        if __name__ == "__main__":
            with distpool.get_context(sys.argv[1]).Pool(2, begin, ("begun",)) as pool:
                shutil.rmtree(HERE)
                print("packed", flush=True)
                sys.stdin.readline()
                print(pool.map(local, [1, 2]))
                print(pool.map(lambda x: local(x)[0] + 1, [1, 2]))
                print(pool.map(helper.text_of, ["data/text.txt"] * 2))
                print(pool.map(module.negative, [1, 2]))
                print(pool.apply(helper.where) == (pool.apply(os.getcwd), pool.apply(os.getcwd)))
    """,
    "helper.py": """
        import os

        def text_of(path):
            with open(path) as file:
                return file.read()

        def where():
            return os.path.dirname(os.path.abspath(__file__)), os.getcwd()
    """,
    "data/text.txt": "some data",
    "package/__init__.py": "",
    "package/module.py": """
        from . import other

        def negative(x):
            return other.minus(x)
    """,
    "package/other.py": "def minus(x): return -x",
}

# Says what the module `told` has, or what went wrong.
TELLER = """
    import distpool

    def ask(_):
        import told
        return told.TEXT

    if __name__ == "__main__":
        with distpool.Pool(2) as pool:
            try:
                print(*sorted(set(pool.map(ask, range(8), chunksize=1))))
            except Exception as error:
                print(type(error).__name__, error)
"""


@pytest.fixture
def project(tmp_path):
    """Makes the folder of a program, with these files."""

    def make(processes: Cluster, files: dict[str, str], name: str = "project") -> Project:
        return Project(processes, tmp_path / name, files)

    return make


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_program_runs_on_a_node_that_joins_when_its_folder_is_gone(processes, project, method):
    processes.start_head("--port", "0")
    with project(processes, PROGRAM).started("train.py", method) as driver:
        assert driver.stdout.readline() == "packed\n"
        processes.start_node("late", "--cpus", "2")
        output, errors = driver.communicate("go on\n", timeout=LIMIT_S)
    assert errors == ""
    assert output.splitlines() == [
        "[(3, ['begun'], 'train.py', True), (6, ['begun'], 'train.py', True)]",
        "[4, 7]",
        "['some data', 'some data']",
        "[-1, -2]",
        "True",
    ]


def test_what_nodes_have_is_not_sent_again_and_a_change_is_seen(shared, project):
    before = received(shared, "first", "second")
    teller = project(shared, {"main.py": TELLER, "told.py": "TEXT = 'one'"})
    assert teller.run("main.py") == ["one"]
    once = received(shared, "first", "second")
    assert once > before
    copy = project(shared, {"main.py": TELLER, "told.py": "TEXT = 'one'"}, "copy")
    assert [teller.run("main.py"), copy.run("main.py")] == [["one"], ["one"]]
    assert received(shared, "first", "second") == once
    teller.write("told.py", "TEXT = 'two'")
    assert teller.run("main.py") == ["two"]
    assert received(shared, "first", "second") > once


def test_programs_with_the_same_names_in_other_folders_do_not_mix(shared, project):
    waiting = TELLER.replace("def ask", "import sys\n\n    def ask").replace(
        "with distpool", "print('there', flush=True)\n        sys.stdin.readline()\n        with distpool"
    )
    tellers = [project(shared, {"main.py": waiting, "told.py": f"TEXT = {name!r}"}, name) for name in ("one", "other")]
    with tellers[0].started("main.py") as one, tellers[1].started("main.py") as other:
        for driver in (one, other):
            assert driver.stdout.readline() == "there\n"
        for driver in (one, other):
            driver.stdin.write("go on\n")
            driver.stdin.flush()
        assert [driver.communicate(timeout=LIMIT_S) for driver in (one, other)] == [("one\n", ""), ("other\n", "")]


def test_a_module_run_by_its_name(shared, project):
    files = {
        "top/__init__.py": "",
        "top/below/__init__.py": "",
        "top/below/main.py": """
            import distpool
            from . import near
            from top import above

            def both(x):
                return near.PART, above.PART, __file__.split("/code/")[1].split("/", 1)[1]

            if __name__ == "__main__":
                with distpool.Pool(2) as pool:
                    print(pool.map(both, [1]))
        """,
        "top/below/near.py": "PART = 'near'",
        "top/above.py": "PART = 'above'",
    }
    assert project(shared, files).run("-m", "top.below.main") == ["[('near', 'above', 'top/below/main.py')]"]


def test_a_notebook_names_the_folder_of_its_modules(shared, project, tmp_path):
    project(shared, {"told.py": "TEXT = 'shipped'"})
    cells = """
        import distpool
        {}
        factor = 3
        def ask(x):
            import told
            return told.TEXT, x * factor
        with distpool.Pool(2) as pool:
            try:
                print(pool.map(ask, [1, 2]))
            except ModuleNotFoundError as error:
                print(error.name, error)
    """
    notebook = project(shared, {"cells.py": cells.format("")}, "notebook")

    def run(text: str) -> list[str]:
        return notebook.run("-c", "\n".join(line.strip(" " * 8) and line[8:] for line in text.splitlines()))

    assert run(cells.format(f"distpool.init(working_dir={str(tmp_path / 'project')!r})")) == [
        "[('shipped', 3), ('shipped', 6)]"
    ]
    (line,) = run(cells.format(""))
    assert line.startswith("told No module named 'told' (on node '")
    assert "distpool.init(working_dir=...)" in line
    assert "distpool.init(pip=[...])" in line


def test_a_script_outside_of_the_folder_that_is_named_travels_by_value(shared, project, tmp_path):
    project(shared, {"told.py": "TEXT = 'shipped'"}, "library")
    script = f"""
        import distpool

        factor = 5

        def ask(x):
            import os, told
            return told.TEXT, x * factor, os.path.exists("main.py")

        if __name__ == "__main__":
            distpool.init(working_dir={str(tmp_path / "library")!r})
            with distpool.Pool(2) as pool:
                print(pool.map(ask, [1]))
    """
    assert project(shared, {"main.py": script}).run("main.py") == ["[('shipped', 5, False)]"]


def test_a_module_that_a_script_needs_and_nodes_lack_is_named_with_the_remedy(shared, project, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "told.py").write_text("TEXT = 'here'")
    program = project(shared, {"main.py": f"import sys\nsys.path.append('gone')\nimport told\n{_dedented(TELLER)}"})
    os.rename(tmp_path / "elsewhere", tmp_path / "project" / "gone")
    program.write(".distpoolignore", "gone/")
    with program.started("main.py") as driver:
        output, _ = driver.communicate(timeout=LIMIT_S)
    assert output.startswith("PoolBroken worker process")
    last = output.rstrip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: No module named 'told' (on node '")
    assert "distpool.init(working_dir=...)" in last


def test_environment_variables_are_there_when_modules_are_imported(shared, project):
    files = {
        "main.py": """
            import distpool, told

            if __name__ == "__main__":
                distpool.init(env={"FLAVOUR": "sour", "PYTHONHASHSEED": "0"})
                with distpool.Pool(2) as pool:
                    print(pool.apply(told.tell))
        """,
        "told.py": """
            import os, sys
            FLAVOUR = os.environ.get("FLAVOUR")
            def tell():
                return FLAVOUR, sys.flags.hash_randomization, os.environ["DISTPOOL_ADDRESS"]
        """,
    }
    assert project(shared, files).run("main.py") == ["('sour', 0, 'local')"]


def wheel(folder: Path, name: str, text: str) -> str:
    """A package of one module, as pip installs it without asking anybody."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        about = f"{name}-1.0.dist-info"
        file.writestr(f"{name}.py", text)
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return path.name


def test_what_pip_is_asked_for_is_installed_once(shared, project):
    program = project(shared, {"main.py": _with_pip("['--no-index', './told-1.0-py3-none-any.whl']")})
    wheel(program.folder, "told", "TEXT = 'installed'")
    assert program.run("main.py") == ["installed"]
    assert program.run("main.py") == ["installed"]
    assert sum(shared.logged(node).count("making an environment") for node in ("first", "second")) == 1


def test_what_pip_cannot_install_is_an_error_with_its_last_lines(shared, project):
    (first, *rest) = project(shared, {"main.py": _with_pip("['--no-index', 'no-such-package']")}).run("main.py")
    assert first.startswith("PoolBroken on node '")
    assert "pip failed with exit code 1 for ['--no-index', 'no-such-package']:" in first
    assert "No matching distribution found for no-such-package" in rest[-1]
    shared.until(lambda: all(node["leases"] == 0 for node in shared.status()["nodes"]))


def _with_pip(requirements: str) -> str:
    text = f'{"if __name__ == "}"__main__":\n        distpool.init(pip={requirements})'
    return TELLER.replace('if __name__ == "__main__":', text)


def _dedented(text: str) -> str:
    return "\n".join(line[4:] for line in text.splitlines())


LARGE = {"main.py": TELLER, "told.py": "TEXT = 'large'"}


def write_large(program: Project) -> None:
    """What takes a while to send: it cannot be compressed."""
    (program.folder / "large.bin").write_bytes(os.urandom(40 * 1024 * 1024))


def is_receiving(node: psutil.Popen) -> bool:
    """It has the file without a name that pieces are written to, and some are there."""
    for link in Path(f"/proc/{node.pid}/fd").iterdir():
        try:
            if "/cache/" in os.readlink(link) and "(deleted)" in os.readlink(link) and link.stat().st_size:
                return True
        except FileNotFoundError:
            continue
    return False


def test_a_program_that_is_killed_while_its_code_is_sent_leaves_nothing_on_the_node(processes, project):
    processes.start_head("--port", "0")
    node = processes.start_node("only", "--cpus", "2")
    processes.until(lambda: processes.nodes() == {"only"})
    program = project(processes, LARGE)
    write_large(program)
    with program.started("main.py") as driver:
        processes.until(lambda: is_receiving(node))
        node.send_signal(signal.SIGSTOP)  # so that it is known to have come no further
        was_receiving = is_receiving(node)
        driver.kill()
        driver.wait()
        node.send_signal(signal.SIGCONT)
    assert was_receiving
    processes.until(lambda: not is_receiving(node))
    assert kept(processes) == []
    (program.folder / "large.bin").unlink()
    assert program.run("main.py") == ["large"]
    assert len(kept(processes)) == 1


def test_a_node_that_is_killed_while_it_is_sent_code_costs_no_call(processes, project):
    processes.start_head("--port", "0")
    nodes = [processes.start_node(name, "--cpus", "2") for name in ("first", "second")]
    processes.until(lambda: processes.nodes() == {"first", "second"})
    program = project(processes, LARGE)
    write_large(program)
    with program.started("main.py") as driver:
        processes.until(lambda: is_receiving(nodes[0]) or is_receiving(nodes[1]))
        (nodes[0] if is_receiving(nodes[0]) else nodes[1]).kill()
        assert driver.communicate(timeout=LIMIT_S) == ("large\n", "")
