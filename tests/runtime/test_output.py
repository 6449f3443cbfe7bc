"""What workers print arrives at the driver's streams: in whole lines, in order, and before the result of its call."""

import contextlib
import ctypes
import io
import os
import select
import signal
import subprocess
import sys
import threading

import pytest

import distpool
from distpool.errors import WorkerDied
from distpool.ids import LeaseId
from distpool.runtime.output import Outputs

from . import calls
from .programs import LIMIT_S, output_of, program, until

METHODS = ["fork", "forkserver", "spawn"]


@pytest.fixture
def pool():
    with distpool.get_context("fork").Pool(1) as pool:
        yield pool
    pool.join()


def print_and_return(text, value=None):
    print(text)
    return value


def print_to_error(text, end="\n"):
    print(text, file=sys.stderr, end=end)


def print_lines(letter, length, count):
    for _ in range(count):
        print(letter * length)


def print_numbers(name, count):
    for number in range(count):
        print(name, number)


def print_and_wait(text, end, path):
    print(text, end=end, flush=True)
    calls.wait_for(path)


def print_and_die(text):
    print(text, end="", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


# ---- the order


@pytest.mark.parametrize("method", METHODS)
def test_what_a_call_prints_is_there_before_its_result(capsys, method):
    with distpool.get_context(method).Pool(2) as pool:
        for number in range(50):
            pool.apply(print, (f"call {number}",))
            print(f"driver {number}")
            pool.apply(print_to_error, (f"error {number}",))
            print(f"driver {number}", file=sys.stderr)
    pool.join()
    output, errors = capsys.readouterr()
    assert output == "".join(f"call {n}\ndriver {n}\n" for n in range(50))
    assert errors == "".join(f"error {n}\ndriver {n}\n" for n in range(50))


def test_it_is_there_before_the_result_reaches_a_callback_or_an_iterator(capsys):
    seen = []

    def note(_):
        seen.append(capsys.readouterr().out)

    with distpool.get_context("fork").Pool(1) as pool:
        pool.apply_async(print_and_return, ("one",), callback=note).get(LIMIT_S)
        for _ in pool.imap(print_and_return, ["two"]):
            note(None)
    with distpool.futures.ProcessPoolExecutor(1, mp_context=distpool.get_context("fork")) as executor:
        future = executor.submit(print_and_return, "three")
        future.result(LIMIT_S)
        note(None)
    assert seen == ["one\n", "two\n", "three\n"]


def test_it_is_there_before_a_large_result_and_before_an_error(capsys, pool):
    assert len(pool.apply(print_and_return, ("large", bytes(1_000_000)))) == 1_000_000
    assert capsys.readouterr().out == "large\n"

    def fail():
        print("failing")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        pool.apply(fail)
    assert capsys.readouterr().out == "failing\n"


def test_lines_of_one_worker_keep_their_order(capsys):
    with distpool.get_context("fork").Pool(3) as pool:
        pool.starmap(print_numbers, [(name, 300) for name in "abc"], chunksize=1)
    pool.join()
    lines = capsys.readouterr().out.splitlines()
    for name in "abc":
        assert [line for line in lines if line[0] == name] == [f"{name} {number}" for number in range(300)]
    assert len(lines) == 900


# ---- whole lines


@pytest.mark.parametrize(("length", "count"), [(5_000, 100), (70_000, 20), (300_000, 5)])
def test_long_lines_of_several_workers_stay_whole(capsys, length, count):
    with distpool.get_context("fork").Pool(4) as pool:
        pool.starmap(print_lines, [(letter, length, count) for letter in "abcd"], chunksize=1)
        lines = capsys.readouterr().out.splitlines()
    pool.join()
    assert {(line[:1], len(line), len(set(line))) for line in lines} == {(letter, length, 1) for letter in "abcd"}
    assert len(lines) == 4 * count


LEASE = LeaseId(1)


class Shown(list):
    """Two pipes of a worker, and what was passed on of them."""

    def __init__(self):
        self._epoll = select.epoll()
        self.outputs = Outputs(0.1, self._epoll, lambda lease, name, text: self.append((name, text.decode())))
        self.stdout, self.stderr = self.outputs.open(LEASE)

    def write(self, text, now, stream="stdout"):
        os.write(getattr(self, stream), text.encode())
        self.outputs.read(LEASE, now)

    def close(self):
        for writer in (self.stdout, self.stderr):
            os.close(writer)
        self.outputs.bury(LEASE)
        self._epoll.close()


@pytest.fixture
def shown():
    shown = Shown()
    yield shown
    shown.close()


def test_a_line_that_does_not_end_is_passed_on_after_a_while(shown):
    shown.write("name", 10.0)
    shown.write("? ", 10.05)
    shown.outputs.flush_parts(10.09)
    assert shown == []
    assert list(shown.outputs.flush_at.values()) == [pytest.approx(10.1)]
    shown.outputs.flush_parts(10.11)
    assert shown == [("stdout", "name? ")]
    assert shown.outputs.flush_at == {}


def test_the_while_is_counted_from_the_beginning_of_the_line(shown):
    shown.write("first, ", 10.0)
    shown.write("whole\nsecond, ", 10.09)
    shown.outputs.flush_parts(10.11)
    assert shown == [("stdout", "first, whole\n")]
    shown.write("whole\n", 10.12)
    assert shown[1:] == [("stdout", "second, whole\n")]


def test_a_long_line_that_is_still_coming_is_waited_for(shown):
    for step in range(10):
        shown.write("x" * 30_000, 10.0 + step * 0.05)
        shown.outputs.flush_parts(10.0 + step * 0.05)
    assert shown == []
    shown.write("\n", 10.5)
    assert shown == [("stdout", "x" * 300_000 + "\n")]


def test_the_streams_of_a_worker_do_not_hold_up_each_other(shown):
    shown.write("ready? ", 10.0, "stderr")
    for step in range(5):
        shown.write("line\npart of a ", 10.0 + step * 0.04)
        shown.outputs.flush_parts(10.0 + step * 0.04)
    assert ("stderr", "ready? ") in shown


def test_a_line_without_end_does_not_gather_for_ever(shown):
    for _ in range(40):
        shown.write("x" * 60_000, 10.0)
    assert sum(len(text) for _, text in shown) > 1_000_000


def test_a_question_without_line_end_is_seen_while_its_call_waits_for_the_answer(capsys, pool, tmp_path):
    answer = tmp_path / "answer"
    result = pool.apply_async(print_and_wait, ("your name? ", "", str(answer)))
    seen = []
    assert until(lambda: seen.append(capsys.readouterr().out) or "".join(seen) == "your name? ")
    answer.touch()
    result.get(LIMIT_S)


def test_a_progress_bar_that_rewrites_its_line_is_passed_on_as_it_is(capsys, pool, tmp_path):
    gate = tmp_path / "gate"
    result = pool.apply_async(print_and_wait, ("12 %", "\r", str(gate)))
    seen = []
    assert until(lambda: seen.append(capsys.readouterr().out) or "".join(seen) == "12 %\r")
    gate.touch()
    result.get(LIMIT_S)


def test_a_line_without_end_is_passed_on_when_its_worker_dies(capsys, pool):
    with pytest.raises(WorkerDied):
        pool.apply(print_and_die, ("unfinished",))
    assert capsys.readouterr().out == "unfinished"


# ---- whoever writes


def write_by_descriptor():
    os.write(1, b"descriptor 1\n")
    os.write(2, b"descriptor 2\n")


def run_a_command():
    subprocess.run(["/bin/sh", "-c", "echo command 1; echo command 2 >&2"], check=True)


def write_from_c():
    libc = ctypes.CDLL(None)
    libc.puts(b"c 1")
    libc.fflush(None)


def write_from_a_thread():
    thread = threading.Thread(target=lambda: print("thread 1"))
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("write", "output", "errors"),
    [
        (write_by_descriptor, "descriptor 1\n", "descriptor 2\n"),
        (run_a_command, "command 1\n", "command 2\n"),
        (write_from_c, "c 1\n", ""),
        (write_from_a_thread, "thread 1\n", ""),
    ],
)
def test_output_of_native_code_and_of_commands_comes_by_the_same_way(capsys, pool, write, output, errors):
    pool.apply(write)
    assert capsys.readouterr() == (output, errors)


def test_text_beyond_ascii(capsys, pool):
    pool.apply(print, ("größer ☂",))
    assert capsys.readouterr().out == "größer ☂\n"


# ---- whatever the driver's streams are


def test_output_goes_where_the_drivers_stream_points_at_that_moment(pool):
    first, second = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(first), contextlib.redirect_stderr(second):
        pool.apply(print, ("one",))
        pool.apply(print_to_error, ("two",))
    with contextlib.redirect_stdout(second):
        pool.apply(print, ("three",))
    assert (first.getvalue(), second.getvalue()) == ("one\n", "two\nthree\n")


class OnlyWrite:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class FailingWrite:
    def write(self, text):
        raise RuntimeError("the log window was closed")

    def flush(self):
        raise RuntimeError("the log window was closed")


def closed_stream():
    stream = io.TextIOWrapper(io.BytesIO())
    stream.close()
    return stream


@pytest.mark.parametrize("make", [lambda: None, closed_stream, OnlyWrite, FailingWrite])
def test_streams_of_the_driver_that_cannot_be_written_to_do_no_harm(monkeypatch, pool, make):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, make())
    for value in range(5):
        assert pool.apply(print_and_return, ("one", value)) == value
        pool.apply(print_to_error, ("two",))
    assert pool.map(calls.square, range(100)) == [value * value for value in range(100)]


def test_a_stream_that_can_only_be_written_to_gets_the_text(monkeypatch, pool):
    stream = OnlyWrite()
    monkeypatch.setattr(sys, "stdout", stream)
    pool.apply(print, ("one",))
    assert stream.text == "one\n"


def test_what_a_stream_of_the_users_refuses_goes_to_the_first_one(monkeypatch, pool):
    first = OnlyWrite()
    monkeypatch.setattr(sys, "__stdout__", first)
    monkeypatch.setattr(sys, "stdout", FailingWrite())
    pool.apply(print, ("one",))
    assert first.text == "one\n"


CLOSED_DESCRIPTORS = """
    import os, sys
    import distpool
    from tests.runtime.test_output import print_and_return

    if __name__ == "__main__":
        answer = os.dup(1)
        for number in map(int, sys.argv[2:]):
            os.close(number)
        with distpool.get_context(sys.argv[1]).Pool(2) as pool:
            result = pool.starmap_async(print_and_return, [("text", n) for n in range(20)])
            os.write(answer, f"{result.get(20) == list(range(20))}\\n".encode())
        os._exit(0)
"""


@pytest.mark.parametrize("closed", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_driver_without_standard_descriptors_works(tmp_path, method, closed):
    with program(tmp_path, CLOSED_DESCRIPTORS, method, *map(str, closed)) as driver:
        output, _ = driver.communicate(timeout=LIMIT_S)
    shown = [] if 1 in closed else ["text"] * 20
    assert sorted(output.split()) == ["True", *shown]


READER_GONE = """
    import os, signal, sys
    import distpool
    from tests.runtime.test_output import print_and_return

    if __name__ == "__main__":
        with distpool.get_context("fork").Pool(2) as pool:
            reader, writer = os.pipe()
            os.dup2(writer, 1), os.close(writer), os.close(reader)
            result = pool.starmap_async(print_and_return, [("text", n) for n in range(20)])
            print(result.get(20) == list(range(20)), file=sys.stderr)
        os._exit(0)
"""


def test_a_driver_whose_reader_is_gone_works(tmp_path):
    with program(tmp_path, READER_GONE) as driver:
        _, errors = driver.communicate(timeout=LIMIT_S)
    assert errors == "True\n"


# ---- nothing is lost

ENDS = """
    import sys
    from multiprocessing import util
    import distpool
    import distpool.futures
    from tests.runtime.test_output import print_and_return

    def say_goodbye():
        util.Finalize(None, print, ("goodbye",), exitpriority=0)

    def main(method, end):
        context = distpool.get_context(method)
        if end == "executor":
            executor = distpool.futures.ProcessPoolExecutor(1, context, say_goodbye)
            for number in range(3):
                executor.submit(print_and_return, f"call {number}")
            return
        pool = context.Pool(1, say_goodbye)
        results = [pool.apply_async(print_and_return, (f"call {number}",)) for number in range(3)]
        if end == "close":
            pool.close()
            pool.join()
        elif end == "terminate":
            for result in results:
                result.get(20)
            pool.terminate()
        else:
            global kept
            kept = pool
            for result in results:
                result.get(20)

    if __name__ == "__main__":
        main(*sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("method", "end"), [("fork", "close"), ("fork", "executor"), ("forkserver", "close"), ("spawn", "executor")]
)
def test_what_workers_print_until_they_end_is_not_lost(tmp_path, method, end):
    lines = output_of(tmp_path, ENDS, method, end).splitlines()
    assert lines == ["call 0", "call 1", "call 2", "goodbye"]


@pytest.mark.parametrize("end", ["terminate", "exit"])
def test_what_calls_printed_is_not_lost_where_their_pool_is_ended(tmp_path, end):
    assert output_of(tmp_path, ENDS, "fork", end).splitlines()[:3] == ["call 0", "call 1", "call 2"]


def test_much_output_at_the_end_is_not_lost(capsys):
    with distpool.get_context("fork").Pool(2) as pool:
        pool.starmap_async(print_lines, [(letter, 1000, 2000) for letter in "ab"], chunksize=1)
        pool.close()
        pool.join()
    assert len(capsys.readouterr().out.splitlines()) == 4000


# ---- the last words of a worker


def print_much_and_die():
    for number in range(1000):
        print(f"line {number}", file=sys.stderr)
    print("x" * 100_000, file=sys.stderr)
    os.kill(os.getpid(), signal.SIGKILL)


def crash():
    ctypes.string_at(0)


def abort_with_words():
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def test_the_last_lines_on_standard_error_go_with_the_death(pool, capsys):
    with pytest.raises(WorkerDied) as caught:
        pool.apply(print_much_and_die)
    lines = caught.value.stderr.splitlines()
    assert lines[:-1] == [f"line {number}" for number in range(981, 1000)]
    assert 100 < len(lines[-1]) < 1000
    assert "    line 999\n" in str(caught.value)
    assert len(capsys.readouterr().err) > 100_000, "all of it was passed on too"


@pytest.mark.parametrize("method", METHODS)
def test_a_crash_in_native_code_says_where_it_was(capsys, method):
    with distpool.get_context(method).Pool(1) as pool:
        with pytest.raises(WorkerDied, match="SIGSEGV") as caught:
            pool.apply(crash)
        assert "Fatal Python error: Segmentation fault" in caught.value.stderr
        assert "in crash" in caught.value.stderr
        assert "in crash" in capsys.readouterr().err
    pool.join()


def test_the_words_of_native_code_before_it_aborts(pool, capsys):
    with pytest.raises(WorkerDied, match="SIGABRT") as caught:
        pool.apply(abort_with_words)
    assert "std::bad_alloc" in caught.value.stderr
    assert "std::bad_alloc" in capsys.readouterr().err


def test_a_replacement_does_not_inherit_the_words_of_the_dead(pool, capsys):
    with pytest.raises(WorkerDied):
        pool.apply(abort_with_words)
    with pytest.raises(WorkerDied) as caught:
        pool.apply(os._exit, (1,))
    assert caught.value.stderr == ""
    capsys.readouterr()
