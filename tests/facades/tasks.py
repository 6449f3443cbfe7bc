"""What the workers run. Imports next to nothing, because a spawned worker imports it for each test."""

import atexit
import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing import util

held = None


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def __eq__(self, other):
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None

    def moved(self, dx):
        return Point(self.x + dx, self.y)


class Squarer:
    def __call__(self, x):
        return x * x


class OddNumber(Exception):
    """Has a signature of its own and pickles right."""

    def __init__(self, number, *, limit=0):
        super().__init__(f"{number} is odd (limit {limit})")
        self.number = number
        self.limit = limit

    def __reduce__(self):
        return _odd_number, (self.number, self.limit)


def _odd_number(number, limit):
    return OddNumber(number, limit=limit)


class BadlyPickled(Exception):
    """Pickles, but cannot be unpickled: the second argument is missing."""

    def __init__(self, first, second):
        super().__init__(first)


class CannotUnpickle:
    """A value that pickles, but cannot be unpickled."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise ValueError("refused while unpickling")


def square(x):
    return x * x


def add(x, y=0):
    return x + y


def keywords(**kwargs):
    return sorted(kwargs.items())


def echo(*args, **kwargs):
    return args, kwargs


def same(x):
    return x


def size(x):
    return len(x)


def pid(_=None):
    return os.getpid()


def pid_of_reader_after(seconds_and_value):
    time.sleep(seconds_and_value[0])
    return os.getpid()


def sleep_for(seconds):
    time.sleep(seconds)
    return seconds


def fail(message="wrong"):
    raise ValueError(message)  # the line that failed in the worker


def fail_on_three(x):
    if x == 3:
        raise ValueError("three")
    return x


def fail_on_odd(x):
    if x % 2:
        raise OddNumber(x, limit=7)
    return x


def raise_error(error):
    raise error


def raise_from(message):
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise RuntimeError(message) from error


def raise_with_note(message):
    error = ValueError(message)
    error.add_note("a note from the worker")
    raise error


def raise_group():
    raise ExceptionGroup("several", [ValueError(1), KeyError("k")])


def raise_badly_pickled():
    raise BadlyPickled("one", "two")


def raise_unpicklable():
    raise ValueError(threading.Lock())


def return_lambda():
    return lambda: 1


def return_lock(_=None):
    return threading.Lock()


def return_what_cannot_be_unpickled():
    return CannotUnpickle()


def is_point(x):
    return type(x) is Point and isinstance(x, Point)


def hold(value):
    global held
    held = value


def hold_both(first, second):
    global held
    held = (first, second)


def read_held(_=None):
    return held


def put_into_held_queue(value):
    held.put(value)


def add_to_held_value(_):
    lock, total = held
    with lock:
        total.value += 1


def put_into(queue, value):
    queue.put(value)


def describe_process(_=None):
    process = multiprocessing.current_process()
    parent = multiprocessing.parent_process()
    return process.name, process.daemon, process.pid == os.getpid(), parent.name, parent.pid


def start_a_child():
    process = multiprocessing.Process(target=square, args=(2,))
    process.start()
    process.join()
    return process.exitcode


def nested_executor(library_name, start_method, value):
    library = importlib.import_module(library_name)
    futures = importlib.import_module("concurrent.futures" if library_name == "multiprocessing" else "distpool.futures")
    with futures.ProcessPoolExecutor(1, mp_context=library.get_context(start_method)) as executor:
        return executor.submit(square, value).result(20)


def wait_for(path, value=None):
    """Return `value` once there is a file at `path`."""
    give_up_at = time.monotonic() + 20
    while not os.path.exists(path):
        if time.monotonic() > give_up_at:
            raise TimeoutError(path)
        time.sleep(0.002)
    return value


def announce_and_wait(started_path, path):
    """Like `wait_for`, but tell by a file at `started_path` that the task has begun."""
    open(started_path, "w").close()
    return wait_for(path)


def wait_or_return(path, value):
    """Only the first item waits."""
    return wait_for(path, value) if value == 0 else value


def array_sum(array):
    return float(array.sum())


def write_into_array(array):
    array[0] = 7
    return float(array[0])


def ones(count):
    import numpy

    return numpy.ones(count)


def exit_at_once(code):
    os._exit(code)


def note_exit(folder):
    """As an initializer: leave a file for each kind of exit function that runs."""
    util.Finalize(None, (folder / "finalizer").touch, exitpriority=0)
    atexit.register((folder / "atexit").touch)


def failing_initializer():
    raise RuntimeError("the initializer failed")


def current_directory_and_path_length():
    return os.getcwd(), len(sys.argv)


def environment(name):
    return os.environ.get(name)


def wait_and_die(path, how):
    wait_for(path)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(20)
    os._exit(int(how.removeprefix("exit ")))


def create_file(path):
    open(path, "w").close()
    return path


def describe_process_by(library_name):
    library = importlib.import_module(library_name)
    same = library.current_process().name == multiprocessing.current_process().name
    return library.current_process().name, library.parent_process().pid, same


def exit_when_interrupted(started_path, path, code):
    try:
        announce_and_wait(started_path, path)
    except KeyboardInterrupt:
        sys.exit(code)


def register_exit_functions(path):
    util.Finalize(None, append, (path, "finalizer"), exitpriority=1)
    atexit.register(append, path, "atexit")


def append(path, line):
    with open(path, "a") as file:
        file.write(f"{line}\n")
