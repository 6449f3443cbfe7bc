"""What heads and nodes write down about themselves, and `distpool logs`, which shows it."""

import logging
import os
import stat
from itertools import pairwise

import pytest

from distpool.cli import logs
from distpool.runtime import own_log
from distpool.runtime.own_log import HEAD, OwnLog, keeping_log, log_path, logs_in, parts_of
from tests.cli.conftest import json_of


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


def test_the_log_of_a_node_elsewhere_is_told_of_with_machine_and_path(running, run):
    """From a folder that has a driver's key only, as on another machine."""
    elsewhere = running.keys.parent / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "driver.key").write_bytes((running.keys / "driver.key").read_bytes())
    (elsewhere / "driver.key").chmod(0o600)
    home = {"DISTPOOL_HOME": str(elsewhere), "DISTPOOL_ADDRESS": running.address}
    done = run("logs", "first", **home)
    assert done.status == 1
    assert done.errors == (
        f"distpool logs: node 'first' has its log on {os.uname().nodename} in {running.keys}/logs/node-first.log: run "
        "`distpool logs first` there\n"
    )
    assert "and the head knows no node of that name; there are: first" in run("logs", "second", **home).errors


def test_without_logs_and_head_it_says_so(run):
    assert run("logs").output.startswith("there are no logs in ")
    done = run("logs", "first")
    assert done.status == 1
    assert "(there are: none), and no head to ask for a node of that name: no head of" in done.errors


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


def test_what_comes_later_is_followed_into_the_next_file(home, monkeypatch, quiet):
    monkeypatch.setattr(own_log, "_LARGEST_BYTES", 2000)
    monkeypatch.setattr(logs, "_LOOK_EVERY_S", 0.001)
    (home / "logs").mkdir(parents=True)
    path = log_path(home, HEAD)
    quiet.addHandler(OwnLog(path))
    quiet.info("line 0")
    with open(path) as file:
        assert file.read().endswith("line 0\n")
        following = logs.followed(path, file)
        seen = ""
        for number in range(1, 101):
            quiet.info("line %d", number)
            while not seen.endswith(f"line {number}\n"):
                seen += next(following)
        following.close()
    assert [int(line.split()[-1]) for line in seen.splitlines()] == list(range(1, 101))
    assert len(parts_of(path)) > 1


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
