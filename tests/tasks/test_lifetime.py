"""The program's tasks from the first to the end: exit with tasks on their way, Ctrl-C, forks, shutdown and init."""

import os
import signal

import msgspec
import psutil
import pytest

import distpool
from distpool.config import SETTINGS
from tests.runtime.programs import LIMIT_S, left_of, output_of, processes_of, program, until

from . import functions

pytestmark = pytest.mark.usefixtures("own_program")

OUTSTANDING = """
    import distpool, pathlib, sys, time

    @distpool.remote
    def run(path, after):
        with open(path, "a") as file:
            file.write("begun\\n")
        time.sleep(60)

    if __name__ == "__main__":
        first = run.remote(sys.argv[1], 0)
        rest = [run.remote(sys.argv[1], first) for _ in range(5)]
        while not pathlib.Path(sys.argv[1]).exists():
            time.sleep(0.005)
        print("begun", flush=True)
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_tasks_are_dropped_at_exit_without_a_word(tmp_path, method):
    source = OUTSTANDING.replace('"__main__":', f'"__main__":\n        distpool.set_start_method("{method}")')
    assert output_of(tmp_path, source, str(tmp_path / "lines")) == "begun\n"


def test_a_program_that_is_killed_leaves_nothing(tmp_path):
    source = OUTSTANDING + "        time.sleep(60)\n"
    with program(tmp_path, source, str(tmp_path / "lines")) as process:
        assert process.stdout.readline() == "begun\n"
        workers = processes_of(process.pid)
        assert workers
        process.kill()
        assert until(lambda: not left_of(workers))


def test_ctrl_c_ends_a_get_and_the_program(tmp_path):
    source = OUTSTANDING + "        distpool.get(rest)\n"
    with program(tmp_path, source, str(tmp_path / "lines")) as process:
        assert process.stdout.readline() == "begun\n"
        workers = processes_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=LIMIT_S)
        assert process.returncode == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert until(lambda: not left_of(workers))


def test_a_function_of_the_script_and_one_that_is_made_later_run_under_each_start_method(tmp_path):
    source = """
        import distpool

        SCALE = 3

        @distpool.remote
        def scaled(x):
            return SCALE * x

        if __name__ == "__main__":
            for method in ("fork", "forkserver", "spawn"):
                distpool.set_start_method(method, force=True)
                first = scaled.remote(1)

                @distpool.remote
                def later(x):
                    return SCALE + x

                print(distpool.get([first, later.remote(first), later.options(num_returns=0).remote(1) or first]))
                distpool.shutdown()
    """
    assert output_of(tmp_path, source) == "[3, 6, 3]\n" * 3


def test_what_is_defined_line_by_line_is_found_by_what_names_it(tmp_path):
    source = """
        from distpool import get, remote

        if __name__ == "__main__":
            assert get(remote(lambda: 1).remote()) == 1  # the workers are there

            @remote
            def two():
                return 2

            def three():
                return two.__wrapped__() + 1

            @remote
            def four():
                return three() + 1 if type(four) is type(two) else None

            print(get([two.remote(), four.remote()]))
    """
    assert output_of(tmp_path, source) == "[2, 4]\n"


def test_after_shutdown_tasks_begin_anew_and_old_refs_say_what_became_of_them(tmp_path):
    done = functions.identity.remote(5)
    assert distpool.get(done) == 5
    never = functions.wait_for.remote(str(tmp_path / "never"))
    distpool.shutdown()
    with pytest.raises(distpool.PoolTerminated, match="wait_for had not ended when the program ended its tasks"):
        distpool.get(never)
    assert distpool.get(done) == 5
    distpool.init(env={"DISTPOOL_TEST": "seen"})
    assert distpool.get(functions.variable.remote("DISTPOOL_TEST")) == "seen"


def test_a_child_of_a_fork_has_tasks_of_its_own_and_cannot_wait_for_its_parents(tmp_path):
    source = """
        import distpool, os, pathlib, sys, time

        @distpool.remote
        def add(one, other=0):
            return one + other

        @distpool.remote
        def wait_for(path):
            while not pathlib.Path(path).exists():
                time.sleep(0.005)
            return 1

        if __name__ == "__main__":
            done, pending = add.remote(1, 2), wait_for.remote(sys.argv[1])
            assert distpool.get(done) == 3
            child = os.fork()
            if child == 0:
                print(distpool.get(done), distpool.get(add.remote(4)), flush=True)
                try:
                    distpool.get(pending)
                except distpool.DistpoolError as error:
                    print(type(error).__name__, flush=True)
                distpool.shutdown()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            pathlib.Path(sys.argv[1]).touch()
            print(distpool.get(add.remote(pending)))
    """
    assert output_of(tmp_path, source, str(tmp_path / "gate")) == "3 4\nForeignProcess\n1\n"


def test_what_waits_for_a_task_fails_when_the_program_ends_its_tasks(tmp_path):
    needs_it = functions.identity.remote(functions.wait_for.remote(str(tmp_path / "never")))
    distpool.shutdown()
    with pytest.raises(distpool.PoolTerminated) as caught:
        distpool.get(needs_it)
    assert "as it needed the value of wait_for" in caught.value.__notes__[0]


def test_workers_that_have_nothing_to_do_end_and_others_come_when_they_are_needed(monkeypatch):
    settings = msgspec.structs.replace(SETTINGS, idle_limit_s=0.05)
    monkeypatch.setattr("distpool.tasks.program.SETTINGS", settings)
    first = distpool.get(functions.pid.remote())
    functions.wait_until(lambda: not psutil.pid_exists(first))
    assert distpool.get(functions.pid.remote()) != first


def test_workers_of_another_shape_are_beside_those_that_are_there():
    one = distpool.get(functions.pid.remote())
    half = functions.pid.options(num_cpus=0.5)
    others = set(distpool.get([half.remote() for _ in range(50)]))
    assert one not in others
    assert {process.pid for process in psutil.Process().children(recursive=True)} >= {one, *others}
