"""Actors of programs of their own: in all start methods, and what is left when the program ends or is killed."""

import os

import psutil
import pytest

from tests.runtime.programs import LIMIT_S, output_of, program, until

PROGRAM = """
    import os, sys, time
    import distpool

    @distpool.remote
    class Counter:
        def __init__(self, start):
            self.value = start

        def add(self, amount=1):
            self.value += amount
            return self.value

        def stay(self):
            os.write(1, b"busy\\n")
            time.sleep(60)

    @distpool.remote
    class Later:
        async def add(self, amount):
            return amount

    def main(method, state):
        distpool.set_start_method(method)
        counter, later = Counter.remote(5), Later.options(name="later", lifetime="detached").remote()
        print(distpool.get(counter.add.remote(later.add.remote(2))), flush=True)
        if state == "busy":
            counter.stay.remote()
            time.sleep(60)

    if __name__ == "__main__":
        main(*sys.argv[1:])
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_program_that_ends_ends_its_actors_without_a_word(tmp_path, method):
    assert output_of(tmp_path, PROGRAM, method, "idle") == "7\n"


def test_a_killed_program_leaves_nothing(tmp_path):
    before = set(os.listdir("/dev/shm"))
    with program(tmp_path, PROGRAM, "fork", "busy") as driver:
        assert [driver.stdout.readline(), driver.stdout.readline()] == ["7\n", "busy\n"]
        processes = psutil.Process(driver.pid).children(recursive=True)
        assert len(processes) >= 3, "a template and two workers"
        driver.kill()
        assert until(lambda: not any(map(is_there, processes)), LIMIT_S)
    assert set(os.listdir("/dev/shm")) <= before


def is_there(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_there_is_room_for_the_descriptors_of_many_actors(tmp_path):
    many = """
        import resource
        import distpool

        @distpool.remote
        class Small:
            def run(self):
                return 1

        if __name__ == "__main__":
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
            actors = [Small.remote() for _ in range(40)]
            print(sum(distpool.get([actor.run.remote() for actor in actors])))
    """
    assert output_of(tmp_path, many) == "40\n"
