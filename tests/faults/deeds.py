"""What goes wrong in workers: functions that die or fail, and values that do so while they are pickled or unpickled.

Imports next to nothing, because a spawned worker imports it for each test.
"""

import ctypes
import os
import resource
import signal
import sys
import threading
import time

TOO_DEEP = 100_000


class NeedsArguments(Exception):
    """Pickles, but cannot be unpickled by the standard rules: the code is not among its arguments."""

    def __init__(self, message, code):
        super().__init__(message)
        self.code = code


class HoldsLock(Exception):
    """Cannot be pickled."""

    def __init__(self, message):
        super().__init__(message)
        self.lock = threading.Lock()


# Ways to die ----------------------------------------------------------------------------------------------------------


def without_core_file():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def kill_oneself(*_):
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(20)


def segfault(*_):
    without_core_file()
    ctypes.string_at(0)


def leave(*_):
    os._exit(0)


def abort(*_):
    without_core_file()
    os.abort()


# Ways to fail ---------------------------------------------------------------------------------------------------------


def refuse(*_):
    raise ValueError("refused")


def exit_with_three(*_):
    sys.exit(3)


def be_interrupted(*_):
    raise KeyboardInterrupt


# Without *args: Python 3.13.0 does not notice a recursion of functions that have them.
def recurse(depth=0):
    return 1 + recurse(depth + 1)


def exhaust_memory(*_):
    return bytearray(1 << 62)


def raise_with_required_arguments(*_):
    raise NeedsArguments("no licence", 7)


def raise_with_a_lock(*_):
    raise HoldsLock("no licence")


def raise_chained(*_):
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise RuntimeError("outer") from error


def raise_a_group(*_):
    raise ExceptionGroup("several", [ValueError(1), KeyError("k")])


# Values ---------------------------------------------------------------------------------------------------------------


class WhilePickled:
    """Calls `deed` when it is pickled."""

    def __init__(self, deed):
        self.deed = deed

    def __reduce__(self):
        self.deed()
        return int, ()


class WhileUnpickled:
    """Calls `deed` when it is unpickled."""

    def __init__(self, deed):
        self.deed = deed

    def __reduce__(self):
        return self.deed, ()


def return_what_refuses_to_pickle(*_):
    return WhilePickled(refuse)


def return_what_exits_at_pickle(*_):
    return WhilePickled(exit_with_three)


def return_what_segfaults_at_pickle(*_):
    return WhilePickled(segfault)


def return_what_refuses_to_unpickle(*_):
    return WhileUnpickled(refuse)


def return_what_exits_at_unpickle(*_):
    return WhileUnpickled(exit_with_three)


def return_a_lock(*_):
    return threading.Lock()


def nested(depth=TOO_DEEP):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def return_what_is_too_deep(*_):
    return nested()


def same(value):
    return value
