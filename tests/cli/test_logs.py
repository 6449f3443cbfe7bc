"""What heads and nodes write down about themselves, and `distpool logs`, which shows it."""

import logging
import os
import re
import signal
import stat
from itertools import pairwise

import pytest

from distpool.cli import asking, logs
from distpool.runtime import own_log
from distpool.runtime.own_log import HEAD, OwnLog, Place, keeping_log, log_path, logs_in, part_of_log, parts_of
from tests.cli.conftest import json_of, with_drivers_key


@pytest.fixture
def home(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def quiet(monkeypatch):
    """A logger of its own, which says nothing elsewhere."""
    logger = logging.getLogger("distpool.for_tests")
    monkeypatch.setattr(logger, "propagate", False)
    logger.setLevel(logging.INFO)
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()


def test_the_head_and_its_nodes_have_logs_that_only_their_owner_can_read(running, run):
    home = {"DISTPOOL_HOME": str(running.keys)}
    running.until(lambda: "node first has joined" in run("logs", "head", **home).output)
    assert f"listens at {running.address}" in run("logs", "head", **home).output
    assert "has joined the head at" in run("logs", "first", **home).output
    assert len(json_of(run("logs", "head", "-n", "1", "--json", **home))["lines"]) == 1
    listed = json_of(run("logs", "--json", **home))["logs"]
    assert {entry["name"] for entry in listed} >= {"head", "first"}
    assert stat.S_IMODE(os.stat(running.keys / "logs").st_mode) == 0o700
    for entry in listed:
        assert stat.S_IMODE(os.stat(entry["path"]).st_mode) == 0o600
        assert entry["path"] in run("logs", **home).output


def test_the_logs_of_a_node_and_of_the_head_elsewhere_are_told_by_them(running, run, tmp_path):
    elsewhere = with_drivers_key(running, tmp_path / "elsewhere")
    for name in ("first", "head"):
        here = json_of(run("logs", name, "--json", DISTPOOL_HOME=str(running.keys)))
        there = json_of(run("logs", name, "--json", **elsewhere))
        assert there["path"] == f"{os.uname().nodename}:{here['path']}"
        assert here["lines"] == there["lines"][: len(here["lines"])]
        assert "has joined" in run("logs", name, **elsewhere).output
        assert len(run("logs", name, "-n", "1", **elsewhere).output.splitlines()) == 1
    with keeping_log(tmp_path / "elsewhere", "first"), keeping_log(tmp_path / "elsewhere", "second"):
        pass  # processes that have ended there, as their names were taken
    assert run("logs", "first", **elsewhere).output == run("logs", "first", DISTPOOL_HOME=str(running.keys)).output
    own = log_path(tmp_path / "elsewhere", "second")
    assert json_of(run("logs", "second", "--json", **elsewhere))["path"] == str(own)
    own.unlink()
    done = run("logs", "second", **elsewhere)
    assert (done.status, done.errors) == (1, "distpool logs: there is no node 'second'; there are: first\n")


def test_what_comes_to_the_log_of_a_node_elsewhere_is_followed_and_moves_no_cursor(running, run, monkeypatch, tmp_path):
    elsewhere = with_drivers_key(running, tmp_path / "elsewhere")
    waited = []

    def write_and_wait(seconds):
        """In the place of the node, each time that the command waits; the third time it is interrupted."""
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt
        with open(log_path(running.keys, "first"), "a") as file:
            file.write(f"line \x1b[31m {len(waited)}\n")

    with monkeypatch.context() as patch:
        patch.setattr(logs, "_wait", write_and_wait)
        done = run("logs", "first", "--follow", "-n", "1", **elsewhere)
    assert done.status == 130
    assert done.output.splitlines()[1:] == ["line \\x1b[31m 1", "line \\x1b[31m 2"]


def test_a_node_that_does_not_answer_is_told_of(run, processes, monkeypatch, tmp_path):
    processes.start_head()
    node = processes.start_node("stopped", "--cpus", "1")
    processes.until(lambda: processes.nodes() == {"stopped"})
    elsewhere = {**with_drivers_key(processes, tmp_path / "elsewhere"), "DISTPOOL_CONNECT_LIMIT": "1s"}
    node.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(asking, "_ANSWER_LIMIT_S", 1.0)
    done = run("logs", "stopped", **elsewhere)
    assert done.errors.startswith("distpool logs: node 'stopped' has not answered within 1 s: is its process stopped,")
    monkeypatch.setattr(asking, "_ANSWER_LIMIT_S", 20.0)
    done = run("logs", "stopped", **elsewhere)
    assert re.search("left, or was lost, before it answered|there is no node 'stopped'", done.errors)


def test_without_logs_and_head_it_says_so(run):
    assert run("logs").output.startswith("there are no logs in ")
    done = run("logs", "first")
    assert done.status == 1
    assert "(there are: none), and no head to ask for it: no head of" in done.errors


def test_a_log_does_not_grow_for_ever_and_is_shown_across_its_files(home, run, monkeypatch, quiet):
    monkeypatch.setattr(own_log, "_LARGEST_BYTES", 2000)
    (home / "logs").mkdir(parents=True, mode=0o700)
    home.chmod(0o700)
    quiet.addHandler(OwnLog(log_path(home, "a/b")))
    for number in range(300):
        quiet.info("line %d", number)
    (path,) = logs_in(home).values()
    assert list(logs_in(home)) == ["a/b"]
    assert len(parts_of(path)) == 4
    assert sum(part.stat().st_size for part in parts_of(path)) <= 4 * 2000
    shown = [int(line.split()[-1]) for line in run("logs", "a/b", "-n", "60").output.splitlines()]
    assert shown == list(range(240, 300))
    assert all(later - earlier == 1 for earlier, later in pairwise(shown))


def test_what_follows_a_place_is_all_that_was_logged_since_also_across_files(home, monkeypatch, quiet):
    monkeypatch.setattr(own_log, "_LARGEST_BYTES", 2000)
    (home / "logs").mkdir(parents=True)
    path = log_path(home, HEAD)
    with pytest.raises(FileNotFoundError):
        part_of_log(path, None, 100)
    quiet.addHandler(OwnLog(path))
    quiet.info("line 0")
    text, place = part_of_log(path, None, 1000)
    assert text.endswith("line 0\n")
    seen = ""
    for number in range(1, 101):
        quiet.info("line %d", number)
        if number % 7 == 0:
            text, place = part_of_log(path, place, 4000)
            assert text.endswith(f"line {number}\n")
            seen += text
    while text:
        text, place = part_of_log(path, place, 100)  # a line or two at a time
        seen += text
    assert [int(line.split()[-1]) for line in seen.splitlines()] == list(range(1, 101))
    assert len(parts_of(path)) > 1
    last, _ = part_of_log(path, None, 2500)
    assert [int(line.split()[-1]) for line in last.splitlines()] == list(range(101 - last.count("\n"), 101))
    assert 2300 < len(last) <= 2500, "of the file before, too"
    assert part_of_log(path, Place(1, 5), 2500)[0] == last, "a place in a file that is gone"


def test_half_a_line_waits_for_its_end_and_one_without_end_comes_in_parts(tmp_path):
    path = tmp_path / "head.log"
    path.write_text("one\ntw")
    text, place = part_of_log(path, None, 100)
    assert (text, place.offset) == ("one\n", 4)
    path.write_text("one\ntwo\n" + "x" * 30)
    assert part_of_log(path, place, 10)[0] == "two\n"
    text, place = part_of_log(path, Place(place.file, 8), 10)
    assert (text, place.offset) == ("x" * 10, 18)


class Full:
    """A file on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    def seek(self, *place):
        pass

    def tell(self):
        return 0


def test_why_a_process_ends_is_in_its_log_and_a_full_disk_does_not_end_it(home, capsys, monkeypatch):
    home.mkdir(mode=0o700)
    with pytest.raises(OSError, match="too bad"), keeping_log(home, HEAD):
        raise OSError("too bad")
    assert log_path(home, HEAD).read_text().endswith("ERROR distpool: head ends: too bad\n")
    with keeping_log(home, "full"):
        (handler,) = (handler for handler in logging.getLogger().handlers if isinstance(handler, OwnLog))
        with monkeypatch.context() as patch:
            patch.setattr(handler, "stream", Full())
            for _ in range(2):
                logging.getLogger("distpool").error("lost")
    assert capsys.readouterr().err.count("cannot be written to: [Errno 28]") == 1
