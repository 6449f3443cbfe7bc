"""What calls are told of themselves: where they run, for which program and actor, and with what."""

import os
import signal

import pytest

import distpool
from distpool import get_runtime_context

LIMIT_S = 20
NOTHING = {
    "node_id": None,
    "worker_id": None,
    "task_id": None,
    "task_name": None,
    "actor_id": None,
    "actor_name": None,
    "namespace": None,
    "was_current_actor_reconstructed": False,
    "assigned_resources": {},
    "accelerator_ids": {"GPU": []},
    "placement_group_id": None,
}

pytestmark = pytest.mark.usefixtures("own_program")


@distpool.remote
def told():
    return get_runtime_context().get(), os.getpid()


class Known:
    """An actor that knows itself."""

    def __init__(self):
        self.value = 0

    def told(self):
        return get_runtime_context().get()

    def me(self):
        return get_runtime_context().current_actor

    def add_by_handle(self):
        self.value += 1
        return get_runtime_context().current_actor.get.remote()

    def get(self):
        return self.value

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)


def without_task(ref):
    """What was told, which has the task's own number and name in it."""
    context, pid = ref.result(LIMIT_S)
    assert (context["task_id"], context["task_name"]) == (f"{ref.id:x}", "told")
    return {**context, "task_id": None, "task_name": None}, pid


def test_the_program_itself_has_an_id_and_nothing_else():
    context = get_runtime_context()

    assert context.get() == {"job_id": context.get_job_id(), **NOTHING}
    assert int(context.get_job_id(), 16) > 0
    with pytest.raises(RuntimeError, match="no actor runs here"):
        context.current_actor  # noqa: B018
    assert distpool.get_gpu_ids() == []
    with pytest.raises(TypeError, match="outside of an actor"):
        distpool.exit_actor()


def test_a_task_is_told_its_program_its_worker_and_what_it_takes():
    context, pid = without_task(told.options(num_cpus=0.5, memory="1MiB").remote())
    again, same_pid = without_task(told.options(num_cpus=0.5, memory="1MiB").remote())

    job, worker = get_runtime_context().get_job_id(), context["worker_id"]
    amounts = {"CPU": 0.5, "memory": 1048576.0}
    assert context == {**NOTHING, "job_id": job, "node_id": "local", "worker_id": worker, "assigned_resources": amounts}
    assert (again == context) == (pid == same_pid)
    other, _ = told.options(num_cpus=0.25).remote().result(LIMIT_S)
    assert other["worker_id"] != worker
    with distpool.Pool(1) as pool:
        assert pool.apply(told.__wrapped__)[0]["job_id"] == job


def test_an_actor_is_told_its_name_and_number_and_whether_it_was_started_again():
    known = distpool.remote(Known).options(name="known", namespace="tests", max_restarts=1).remote()
    context = known.told.remote().result(LIMIT_S)

    assert (context["actor_name"], context["namespace"]) == ("known", "tests")
    assert not context["was_current_actor_reconstructed"]
    known.die.remote().exception(LIMIT_S)
    again = known.told.remote().result(LIMIT_S)
    assert again["was_current_actor_reconstructed"]
    assert again["actor_id"] == context["actor_id"]
    assert again["worker_id"] != context["worker_id"]
    unnamed = distpool.remote(Known).remote().told.remote().result(LIMIT_S)
    assert (unnamed["actor_name"], unnamed["namespace"]) == ("", "")
    assert unnamed["actor_id"] != context["actor_id"]


def test_an_actor_gives_others_its_own_handle():
    known = distpool.remote(Known).remote()

    assert known.me.remote().result(LIMIT_S) == known
    assert distpool.get(known.add_by_handle.remote().result(LIMIT_S), timeout=LIMIT_S) == 1


@distpool.remote(num_cpus=0.5)
def resources_here():
    return distpool.cluster_resources(), distpool.available_resources(), distpool.nodes()


def test_a_worker_sees_what_its_program_has():
    there, free, nodes = resources_here.remote().result(LIMIT_S)

    assert there == distpool.cluster_resources()
    assert free["CPU"] <= there["CPU"] - 0.5
    assert [node.name for node in nodes] == ["local"]


def ids_of(count):
    """Of tasks within a task, which are many and short, and its own before and after them."""
    before = get_runtime_context().get_task_id()
    refs = [task_id.remote() for _ in range(count)]
    same = distpool.get(refs) == [f"{ref.id:x}" for ref in refs]
    return same, before == get_runtime_context().get_task_id()


@distpool.remote
def task_id():
    return get_runtime_context().get_task_id()


def test_each_of_many_short_tasks_knows_itself():
    refs = [task_id.remote() for _ in range(200)]
    assert distpool.get(refs) == [f"{ref.id:x}" for ref in refs]
    within = distpool.remote(ids_of).options(name="all of them")
    assert distpool.get([within.remote(20) for _ in range(4)]) == [(True, True)] * 4
    first, _ = told.options(num_returns=2, name="named").remote()
    context = first.result(LIMIT_S)
    assert (context["task_id"], context["task_name"]) == (f"{first.id:x}", "named")


class Several:
    async def task_id(self):
        return get_runtime_context().get_task_id()


def test_calls_of_actors_know_themselves_where_they_run_one_after_another():
    known = distpool.remote(Known).remote()
    refs = [known.told.remote() for _ in range(20)]
    assert [context["task_id"] for context in distpool.get(refs)] == [f"{ref.id:x}" for ref in refs]
    assert distpool.remote(Several).remote().task_id.remote().result(LIMIT_S) is None
    with distpool.Pool(1) as pool:
        assert pool.apply(task_id.__wrapped__) is None
