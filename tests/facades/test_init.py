"""`distpool.init` without a cluster: what is refused, what workers of this machine find, and how it ends."""

import os

import pytest

import distpool
from distpool.errors import DistpoolError
from tests.runtime.programs import output_of


@pytest.fixture(autouse=True)
def not_initialized():
    yield
    distpool.shutdown()


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"adress": "x"}, TypeError, "'adress'; valid are address, env, namespace, pip, working_dir"),
        ({"address": "a b"}, DistpoolError, "address is 'a b'; it must be like tcp://host:7117"),
        ({"address": 7117}, TypeError, "address is 7117, a int; it must be a str, 'local' or None"),
        ({"working_dir": "no/such"}, ValueError, r"working_dir is 'no/such', which is no folder \(/.*/no/such was"),
        ({"working_dir": __file__}, ValueError, "which is no folder"),
        ({"working_dir": True}, TypeError, "the path of a folder, None for that of the program, or False for none"),
        ({"working_dir": 3}, TypeError, "working_dir is 3, a int"),
        ({"env": ["A=1"]}, TypeError, "it must be a dict of names and texts"),
        ({"env": {"A": 1}}, TypeError, "env has 'A': 1; names and values must be str"),
        ({"env": {"A=B": ""}}, ValueError, "env has 'A=B': ''; a name is not empty and has no '='"),
        ({"env": {"A": "\0"}}, ValueError, "neither has a null character"),
        ({"env": {"DISTPOOL_ADDRESS": "x"}}, ValueError, "which workers have of their node: give `address`"),
        ({"namespace": 3}, TypeError, "namespace is 3, a int; it must be a str, or None"),
        ({"namespace": ""}, ValueError, "namespace is empty"),
        ({"pip": 3}, TypeError, r"it must be a list of requirements as pip knows them, such as \['numpy>=2'\]"),
        ({"pip": [3]}, TypeError, "it must be a list of requirements"),
        ({"pip": [" "]}, ValueError, "each must be one requirement"),
        ({"pip": "no-such-file.txt"}, FileNotFoundError, "no-such-file.txt"),
        ({"pip": ["numpy"]}, ValueError, "but no cluster is used, .* install them there, or name a head"),
    ],
)
def test_bad_values_are_refused_and_change_nothing(options, kind, text):
    with pytest.raises(kind, match=text):
        distpool.init(**options)
    assert not distpool.is_initialized()


def test_a_requirements_file_may_have_comments(tmp_path):
    (tmp_path / "requirements.txt").write_text("# what we need\nnumpy\n\n  requests>=2\n")
    with pytest.raises(ValueError, match=r"pip is \['numpy', 'requests>=2'\], but no cluster"):
        distpool.init("local", pip=tmp_path / "requirements.txt")


def test_it_is_called_once_and_before_the_first_pool():
    with distpool.Pool(1), pytest.raises(RuntimeError, match=r"pools are open: call distpool.init before the first"):
        distpool.init()
    distpool.shutdown()
    distpool.init()
    assert distpool.is_initialized()
    with pytest.raises(RuntimeError, match=r"was called before; call distpool.shutdown first"):
        distpool.init()


def test_shutdown_ends_all_pools_and_pools_can_be_opened_again():
    distpool.init("local")
    pool, executor = distpool.Pool(1), distpool.Executor(1)
    future = executor.submit(pow, 2, 3)
    assert (pool.apply(pow, (2, 3)), future.result(20)) == (8, 8)
    distpool.shutdown()
    distpool.shutdown()
    assert not distpool.is_initialized()
    with pytest.raises(distpool.PoolTerminated):
        pool.apply(abs, (1,))
    pool.terminate()
    with distpool.Pool(1) as another:
        assert another.apply(abs, (-1,)) == 1


PROGRAM = """
    import os, sys
    import distpool

    def found(_):
        import told  # in the working directory
        return os.environ.get("FLAVOUR"), os.getcwd() == sys.path[0] == folder(), told.TEXT

    def folder():
        return os.path.join(os.path.dirname(os.path.abspath(__file__)), "there")

    def nested(_):
        with distpool.Pool(1) as pool:
            return pool.apply(found, (0,))

    if __name__ == "__main__":
        distpool.init("local", env={"FLAVOUR": "süß"}, working_dir=folder())
        for method in sys.argv[1:]:
            with distpool.get_context(method).Pool(1) as pool:
                print(method, pool.apply(found, (0,)), pool.apply(nested, (0,)))
        print("FLAVOUR" in os.environ, os.getcwd() == folder(), "zmq" in sys.modules)
"""


@pytest.mark.parametrize("methods", [("forkserver", "fork", "spawn")])
def test_workers_of_this_machine_have_the_variables_and_the_working_directory(tmp_path, methods):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "told.py").write_text("TEXT = 'told'")
    lines = output_of(tmp_path, PROGRAM, *methods).splitlines()
    expected = "('süß', True, 'told')"
    assert lines == [*(f"{method} {expected} {expected}" for method in methods), "False False False"]


def test_a_local_program_pays_one_look_and_imports_nothing_for_it(tmp_path, monkeypatch):
    monkeypatch.delenv("DISTPOOL_ADDRESS")
    monkeypatch.setenv("DISTPOOL_HOME", str(tmp_path / "none"))
    source = """
        import sys
        import distpool

        if __name__ == "__main__":
            with distpool.Pool(1) as pool:
                pool.apply(abs, (1,))
            print(*(name for name in ("zmq", "tomllib", "tarfile", "venv") if name in sys.modules))
    """
    assert output_of(tmp_path, source) == "\n"
    assert not os.path.exists(tmp_path / "none")
