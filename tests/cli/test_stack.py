"""`distpool stack`: what a head, a node and its workers, or one process is doing; and whom it leaves alone."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import distpool
from distpool.runtime.stack_answers import SIGNAL
from tests.cli.conftest import json_of, with_drivers_key
from tests.cluster.conftest import use
from tests.runtime.programs import until


def sit_in_a_call(path):
    threading.Thread(target=time.sleep, args=[60.0], name="sleeper", daemon=True).start()
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    while True:
        time.sleep(60.0)  # as one system call


def count_in_a_loop(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    while True:
        pass


def test_a_node_is_shown_with_its_workers_and_no_other_and_they_go_on(running, run, monkeypatch, tmp_path):
    use(running, monkeypatch)
    with distpool.Pool(2) as pool:
        for number, call in enumerate((sit_in_a_call, count_in_a_loop)):
            pool.apply_async(call, [str(tmp_path / str(number))])
        assert until(lambda: all((tmp_path / str(n)).exists() and (tmp_path / str(n)).read_text() for n in range(2)))
        pids = {int((tmp_path / str(number)).read_text()) for number in range(2)}
        for _ in range(3):  # asked again, a process answers anew
            shown = json_of(run("stack", "first", "--json", DISTPOOL_HOME=str(running.keys)))["processes"]
            roles = {process["pid"]: process["role"] for process in shown}
            assert sorted(roles.values()) == ["node first", "worker", "worker"]
            stacks = {process["role"]: process["stack"] for process in shown}
            assert "in serve" in stacks["node first"]
            assert pids < set(roles)
            told = "\n".join(process["stack"] for process in shown)
            assert told.count("in sit_in_a_call") == 1
            assert told.count("in count_in_a_loop") == 1
            assert all(process["stack"].count("Main thread") == 1 for process in shown)


def test_a_node_elsewhere_answers_for_itself_and_its_workers(running, run, monkeypatch, tmp_path):
    use(running, monkeypatch)
    elsewhere = with_drivers_key(running, tmp_path / "elsewhere")
    with distpool.Pool(1) as pool:
        pool.apply_async(count_in_a_loop, [str(tmp_path / "pid")])
        assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        shown = json_of(run("stack", "first", "--json", **elsewhere))["processes"]
        stacks = {process["role"]: process["stack"] for process in shown}
        assert sorted(stacks) == ["node first", "worker"]
        assert "in serve" in stacks["node first"]
        assert "in count_in_a_loop" in stacks["worker"]
        assert "== worker, process " in run("stack", "first", **elsewhere).output
    assert "in serve_head" in run("stack", "head", **elsewhere).output
    done = run("stack", "nobody", **elsewhere)
    assert (done.status, done.errors) == (1, "distpool stack: there is no node 'nobody'; there are: first\n")


def test_one_process_a_head_and_all_of_a_users(running, run):
    head, node = (process.pid for process in running.processes)
    shown = json_of(run("stack", "head", "--json", DISTPOOL_HOME=str(running.keys)))["processes"]
    assert [process["pid"] for process in shown] == [head]
    done = run("stack", str(head))
    assert done.status == 0
    began = f"== head, process {head}\nMain thread {head}, S (sleeping) (most recent call first):\n"
    assert done.output.startswith(began)
    assert {head, node} <= {process["pid"] for process in json_of(run("stack", "--all", "--json"))["processes"]}


def start_threads_without_end(path):
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    while True:
        threading.Thread(target=recurse, args=[50]).start()
        recurse(20)


def recurse(depth):
    return depth and recurse(depth - 1)


def test_asking_harms_no_process_whose_threads_come_and_go(running, run, monkeypatch, tmp_path):
    """As those do by which a head or node asks itself."""
    use(running, monkeypatch)
    elsewhere = with_drivers_key(running, tmp_path / "elsewhere")
    with distpool.Pool(1) as pool:
        result = pool.apply_async(start_threads_without_end, [str(tmp_path / "pid")])
        assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        for _ in range(25):
            shown = json_of(run("stack", "first", "--json", **elsewhere))["processes"]
            stacks = {process["role"]: process["stack"] for process in shown}
            assert "in start_threads_without_end" in stacks["worker"]
            assert "in serve_head" in run("stack", "head", **elsewhere).output
        with pytest.raises(distpool.TimeoutError):
            result.get(timeout=0)
    assert [process.poll() for process in running.processes] == [None, None]


def test_workers_of_a_program_without_a_cluster_can_be_asked(run, tmp_path):
    with distpool.get_context("fork").Pool(1) as pool:
        pool.apply_async(sit_in_a_call, [str(tmp_path / "pid")])
        assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        text = run("stack", (tmp_path / "pid").read_text()).output
        assert "in sit_in_a_call" in text
        assert text.count("(most recent call first):") == 2, "both threads"
        assert "File " in text.partition("\nThread ")[2], "the other one's"


def test_a_process_that_is_not_of_distpool_is_sent_nothing(run):
    """The signal would end it."""
    with subprocess.Popen(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"], stdout=-1
    ) as other:
        assert other.stdout.read(1) == b"1"
        done = run("stack", str(other.pid))
        assert done.status == 1
        assert f"process {other.pid} is no head, node or worker of distpool of this user, so nothing" in done.errors
        run("stack", "--all")
        assert other.poll() is None
        other.send_signal(SIGNAL)
        assert other.wait() == -SIGNAL


def test_a_process_that_is_stopped_is_told_of(run, monkeypatch, tmp_path):
    monkeypatch.setattr("distpool.runtime.stacks._ANSWER_LIMIT_S", 0.05)
    with distpool.get_context("fork").Pool(1) as pool:
        pid = pool.apply(os.getpid)
        os.kill(pid, signal.SIGSTOP)
        try:
            assert "T (stopped): no answer within 0.05 s" in run("stack", str(pid)).output
        finally:
            os.kill(pid, signal.SIGCONT)
        assert pool.apply(os.getpid) == pid, "the late answer does not disturb it"


@pytest.mark.parametrize(
    ("which", "status", "text"), [([], 2, "one of the arguments"), (["nobody"], 1, "no node nobody")]
)
def test_what_is_not_there_is_named(which, status, text, run):
    done = run("stack", *which)
    assert done.status == status
    assert text in done.errors
