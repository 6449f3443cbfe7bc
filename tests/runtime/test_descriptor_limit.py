"""Where a process may not have so many open files as its workers need, that is said, and nothing is left behind."""

import resource

import pytest

from distpool.runtime import descriptor_limit
from distpool.runtime.descriptor_limit import lack_of_room

from .programs import output_of

LOW = 128


@pytest.fixture
def limits(monkeypatch):
    """What a pretended kernel has set: (soft, hard), and how many files are open."""
    kernel = {"limits": (1024, 4096), "open": 10}
    monkeypatch.setattr(resource, "getrlimit", lambda _: kernel["limits"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: kernel.update(limits=limits))
    monkeypatch.setattr(descriptor_limit.os, "listdir", lambda _: [str(number) for number in range(kernel["open"])])
    monkeypatch.setattr(descriptor_limit, "_lowest_free", lambda _: kernel["open"])
    monkeypatch.setattr(descriptor_limit, "_room", [0])
    return kernel


def test_the_soft_limit_is_raised_where_it_is_needed(limits):
    assert lack_of_room(4, 0) == ""
    assert limits["limits"] == (1024, 4096)
    assert lack_of_room(150, 0) == ""
    assert limits["limits"][0] > 150 * 8
    limits["open"] = 2600
    assert lack_of_room(160, 150) == ""
    assert limits["limits"] == (4096, 4096)


def test_it_is_raised_for_what_the_program_has_open_too(limits):
    limits["open"] = 1010
    assert lack_of_room(4, 0) == ""
    assert limits["limits"][0] > 1024


@pytest.mark.parametrize(("new", "in_use", "fits"), [(16, 16, True), (17, 16, False), (1, 106, True), (1, 107, False)])
def test_what_does_not_fit_into_the_hard_limit_is_told(limits, new, in_use, fits):
    limits.update(limits=(LOW, LOW), open=in_use)
    lack = lack_of_room(new, 0)
    assert limits["limits"] == (LOW, LOW)
    assert (lack == "") is fits
    if not fits:
        assert lack.startswith(f"there is no room for {'one more worker' if new == 1 else f'{new} workers'}: process ")
        assert f"of which {in_use} are there now, and may have {LOW}. Start fewer workers, or raise" in lack


PROGRAM = """
    import errno, os, resource, sys
    import distpool, distpool.futures

    def left():
        children = [line for pid in os.listdir("/proc/self/task") for line in
                    open(f"/proc/self/task/{pid}/children").read().split()]
        kept = [pid for pid in children if b"resource_tracker" not in open(f"/proc/{pid}/cmdline", "rb").read()]
        return kept, [name for name in os.listdir("/dev/shm") if "distpool" in name]

    def start(kind, context):
        if kind == "pool":
            return context.Pool(40)
        if kind == "executor":
            return distpool.Executor(40, mp_context=context).submit(abs, -1)
        return distpool.futures.ProcessPoolExecutor(40, mp_context=context).submit(abs, -1)

    if __name__ == "__main__":
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        context = distpool.get_context(sys.argv[1])
        for kind in "pool", "executor", "standard":
            try:
                start(kind, context)
            except OSError as error:
                assert error.errno == errno.EMFILE
                print(error.strerror.partition(":")[0], *left())
        with context.Pool(4) as pool:
            print(pool.map(abs, [-1, -2]))
"""


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools_and_executors_say_so_at_once_and_leave_nothing(tmp_path, method):
    expected = ["there is no room for 40 workers [] []"] * 3 + ["[1, 2]"]
    assert output_of(tmp_path, PROGRAM, method).splitlines() == expected


ON_DEMAND = """
    import resource
    import distpool

    @distpool.remote
    class Small:
        def run(self):
            return 1

    if __name__ == "__main__":
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        actors = [Small.remote() for _ in range(24)]
        outcomes = [actor.run.remote().exception(20) for actor in actors]
        died = [error for error in outcomes if error is not None]
        print(len(died) < 20, {type(error).__name__ for error in died})
        print(any("a worker could not be started" in str(error) and "there is no room" in str(error) for error in died))
        del actors
        distpool.shutdown()
        print(distpool.get(distpool.remote(abs).remote(-1)))
"""


def test_actors_for_which_there_is_no_room_die_with_that_reason_and_others_go_on(tmp_path):
    assert output_of(tmp_path, ON_DEMAND).splitlines() == ["True {'ActorDied'}", "True", "1"]


def test_the_number_of_the_next_open_file_is_looked_for_without_keeping_one(tmp_path):
    lowest = descriptor_limit._lowest_free(1024)
    with open(tmp_path / "file", "w") as file:
        assert file.fileno() == lowest
