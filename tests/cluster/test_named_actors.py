"""Actors with names, which other programs of the cluster find, call and kill; and those that outlive their program."""

import contextlib
import gc
import os
import signal
import threading

import numpy as np
import psutil
import pytest

import distpool
from distpool.actors import actor_class, get_actor, list_named_actors
from distpool.errors import ActorDied, ActorUnavailable, InvalidRef
from distpool.runtime.asking import asked_status
from tests.actors.classes import Counter, Keeper, add_by_name, kill_by_name, start_detached
from tests.cluster.conftest import use
from tests.cluster.projects import Project
from tests.runtime.programs import until

pytestmark = pytest.mark.usefixtures("two_nodes")
LIMIT_S = 20.0
Counters = actor_class(Counter)

# It starts what its argument says, tells of it, and ends when its standard input does.
OWNER = """
    import os
    import signal
    import sys
    import time
    import distpool
    import numpy as np

    @distpool.remote
    class Model:
        def __init__(self, weights):
            self.weights = weights
            self.calls = 0

        def predict(self, batch, scale=1):
            self.calls += 1
            return batch * self.weights.sum() * scale

        def add(self, amount=1):
            self.calls += amount
            return self.calls

        def large(self, count):
            return np.arange(count, dtype=float)

        @distpool.method(num_returns=2)
        def pair(self):
            return "first", np.zeros(100_000)

        def kind(self):
            print("kind was asked")
            return Box()

        def die(self):
            os.kill(os.getpid(), signal.SIGKILL)

        def sleep(self):
            time.sleep(60)

        def count(self):
            yield 1

        def fail(self):
            raise KeyError("not there")

        def refs(self):
            return [distpool.put(1), task.remote()]

    class Box:
        pass

    @distpool.remote
    def task():
        return 1

    if __name__ == "__main__":
        distpool.init(namespace="jobs")
        model = Model.options(name="model", **eval(sys.argv[1])).remote(np.ones(100_000))
        print(distpool.get(model.add.remote()), flush=True)
        assert type(distpool.get(model.kind.remote())) is Box
        sys.stdin.read()
"""


def actors():
    """Those with names, as the head knows them."""
    return asked_status(None).actors


def pid_of(actor):
    """Of its owner."""
    return int(actor.program.split()[1])


@pytest.fixture(autouse=True)
def ended_afterwards():
    yield
    distpool.shutdown()


@pytest.fixture
def keepers_end():
    """Also when the test has failed."""
    yield
    for actor in actors():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid_of(actor), signal.SIGKILL)


@pytest.fixture
def project(two_nodes, tmp_path):
    return Project(two_nodes, tmp_path, {"owner.py": OWNER})


@contextlib.contextmanager
def owner(project, options="{}", first=1):
    """Another program, once it has its actor. `first`: what that has counted then."""
    with project.started("owner.py", options) as process:
        assert process.stdout.readline() == f"{first}\n", process.stderr.read()
        yield process


def test_another_program_calls_an_actor_by_its_name(project, two_nodes):
    distpool.init(namespace="jobs")
    with owner(project) as process:
        model = get_actor("model")
        assert model == get_actor("model", namespace="jobs")
        assert model.predict.remote(np.ones(3)).result(LIMIT_S).tolist() == [100_000.0] * 3
        assert distpool.get([model.add.remote() for _ in range(100)], timeout=LIMIT_S) == list(range(3, 103))
        # Refs arrive as values, and calls after them wait: of `put`, of this program's tasks, of the actor's own calls.
        stored, counter = distpool.put(np.ones(100_000)), Counters.remote(5)
        scale = counter.add.remote()
        refs = [model.predict.remote(stored, scale=scale), model.add.remote(model.add.remote())]
        assert refs[0].result(LIMIT_S).sum() == 6e10
        assert refs[1].result(LIMIT_S) == 104 + 104
        # Results that lie in a store; they go on to this program's own workers.
        large = model.large.remote(300_000)
        assert large.result(LIMIT_S).tolist() == list(range(300_000))
        assert counter.total_of.remote(large).result(LIMIT_S) == sum(range(300_000))
        first, second = model.pair.remote()
        assert (first.result(LIMIT_S), len(second.result(LIMIT_S))) == ("first", 100_000)
        with pytest.raises(KeyError, match="not there"):
            model.fail.remote().result(LIMIT_S)
        with pytest.raises(AttributeError, match="did you mean 'predict'"):
            _ = model.predicts
        # Workers of this program have its handle.
        assert actor_class(Keeper).remote(model).add.remote(1).result(LIMIT_S) == 209
        assert actor_class(Keeper).remote(model).total.remote(np.ones(100_000)).result(LIMIT_S) == 1e10
        assert distpool.remote(add_by_name).remote("model", "jobs").result(LIMIT_S) == (211, ["model"])
        with pytest.raises(TypeError, match=r"Model\.count is a generator, and <actor Model 'model' of process"):
            model.count.remote()
        with pytest.raises(InvalidRef, match="inside an argument for an actor of another program"):
            model.predict.remote([stored])
        with pytest.raises(InvalidRef, match="has refs of tasks, or handles of actors, in it"):
            model.refs.remote().result(LIMIT_S)
        (told,) = actors()
        assert (told.name, told.namespace, told.class_name, told.state) == ("model", "jobs", "Model", "up")
        assert told.program.startswith(f"process {process.pid} of ")
        assert list_named_actors() == ["model"]
        assert list_named_actors(all_namespaces=True) == [{"name": "model", "namespace": "jobs"}]

        distpool.remote(kill_by_name).remote("model", "jobs").result(LIMIT_S)
        with pytest.raises(ActorDied, match=r"it was killed by distpool\.kill"):
            model.add.remote().result(LIMIT_S)
        assert until(lambda: list_named_actors() == [])
        with pytest.raises(ActorDied):
            model.add.remote().result(LIMIT_S)
        assert process.poll() is None
        distpool.shutdown()
        with pytest.raises(ActorUnavailable, match="this program has left its cluster"):
            model.add.remote().result(LIMIT_S)


def test_an_actor_that_is_not_detached_ends_with_its_program(project):
    with owner(project) as process:
        model = get_actor("model", namespace="jobs")
        assert model.add.remote().result(LIMIT_S) == 2
        waiting = model.sleep.remote()
        process.kill()
        for ref in (waiting, model.add.remote()):
            with pytest.raises(ActorDied, match=rf"the program that owned it, process {process.pid} of .*, has ended"):
                ref.result(LIMIT_S)
        assert until(lambda: list_named_actors(all_namespaces=True) == [])
        with pytest.raises(
            ValueError, match="no actor that lives has the name 'model' in namespace 'jobs': there is none"
        ):
            get_actor("model", namespace="jobs")
        # Its name is free for others.
        assert Counters.options(name="model", namespace="jobs").remote().add.remote().result(LIMIT_S) == 1


def test_an_owner_that_is_out_of_reach_is_not_waited_for_and_answers_when_it_is_there_again(project):
    with owner(project) as process:
        model = get_actor("model", namespace="jobs")
        assert model.add.remote().result(LIMIT_S) == 2
        process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(ActorUnavailable, match=r"may have run, and its result is lost: process .* reached at"):
                model.add.remote().result(LIMIT_S)
        finally:
            process.send_signal(signal.SIGCONT)
        # The head has given it up meanwhile, and its lease; so it may be.
        assert until(lambda: isinstance(model.add.remote().exception(LIMIT_S), ActorDied | None))


def test_of_two_programs_that_ask_for_a_name_one_has_it_and_the_other_is_told_so_or_finds_it(project, two_nodes):
    with (
        project.started("owner.py", "{'get_if_exists': True}") as first,
        project.started("owner.py", "{'get_if_exists': True}") as second,
    ):
        said = sorted(process.stdout.readline() for process in (first, second))
        assert said == ["1\n", "2\n"], "they have not called the same actor"
        (told,) = actors()
        with pytest.raises(
            ValueError, match=f"'model' in namespace 'jobs' is taken by an actor of class Model of {told.program}"
        ):
            Counters.options(name="model", namespace="jobs").remote()
        # Each program has a namespace of its own where none is said. Without a handle an actor ends, and its name.
        own = Counters.options(name="model").remote()
        assert own.add.remote().result(LIMIT_S) == 1
        assert list_named_actors() == ["model"]
        del own
        gc.collect()
        assert until(lambda: list_named_actors() == [])
        with pytest.raises(ValueError, match="did you mean 'model'"):
            get_actor("modell", namespace="jobs")


def test_a_head_that_is_started_again_knows_the_names(processes, monkeypatch, tmp_path):
    head = processes.start_head()
    processes.start_node("first", "--cpus", "2")
    processes.until(lambda: processes.nodes() == {"first"})
    use(processes, monkeypatch)
    with owner(Project(processes, tmp_path, {"owner.py": OWNER})):
        head.kill()
        head.wait()
        processes.start_head()
        # Perhaps before its program has come back to this head.
        model = get_actor("model", namespace="jobs")
        assert model.add.remote().result(LIMIT_S) == 2
        with pytest.raises(ValueError, match="is taken by an actor of class Model"):
            Counters.options(name="model", namespace="jobs").remote()
        assert until(lambda: [actor.state for actor in actors()] == ["up"])
        del model
        distpool.shutdown()


DETACHED = "{'lifetime': 'detached', 'get_if_exists': True, 'max_restarts': 1}"


def test_a_detached_actor_outlives_its_program_and_ends_when_it_is_killed(project, two_nodes, keepers_end):
    with owner(project, DETACHED) as process:
        process.stdin.close()
        assert process.wait(LIMIT_S) == 0, process.stderr.read()
    (told,) = actors()
    assert (told.name, told.is_detached, told.program.split()[0]) == ("model", True, "keeper")
    assert "model" in two_nodes.run("status").stdout
    distpool.init(namespace="jobs")
    model = get_actor("model")
    assert model.add.remote().result(LIMIT_S) == 2
    assert model.predict.remote(np.ones(3)).result(LIMIT_S).tolist() == [100_000.0] * 3
    assert len(model.large.remote(300_000).result(LIMIT_S)) == 300_000
    # An instance of a class of the program's script, which this one does not have.
    with pytest.raises(AttributeError, match="Box"):
        model.kind.remote().result(LIMIT_S)
    # What its worker prints is in the keeper's log.
    assert until(lambda: "kind was asked" in two_nodes.logged(f"keeper-{pid_of(told)}"))
    with pytest.raises(ActorUnavailable, match="SIGKILL"):
        model.die.remote().result(LIMIT_S)
    assert model.add.remote().result(LIMIT_S) == 1, "its keeper has started it again"
    # The same program once more: it finds what it has left.
    with owner(project, DETACHED, first=2):
        assert model.add.remote().result(LIMIT_S) == 3
    with pytest.raises(ValueError, match="is taken by an actor of class Model of keeper"):
        Counters.options(name="model", lifetime="detached").remote()
    distpool.kill(model)
    with pytest.raises(ActorDied, match="killed"):
        model.add.remote().result(LIMIT_S)
    assert until(lambda: list_named_actors() == [])
    del model
    distpool.shutdown()
    assert until(lambda: not psutil.pid_exists(pid_of(told))), "its keeper has nothing to keep"


def test_with_a_keeper_end_its_actors_and_the_program_starts_another(keepers_end):
    stored = distpool.put(np.ones(100_000))
    first = Counters.options(name="first", namespace="jobs", lifetime="detached").remote(Counters.remote().add.remote())
    nameless = Counters.options(lifetime="detached").remote(stored)
    assert first.add.remote().result(LIMIT_S) == 2
    assert nameless.add.remote().result(LIMIT_S).sum() == 200_000
    assert get_actor("first", "jobs") == first
    (told,) = actors()
    os.kill(pid_of(told), signal.SIGKILL)
    for actor in (first, nameless):
        with pytest.raises(ActorDied, match=rf"the program that owned it, {told.program}, has ended"):
            actor.add.remote().result(LIMIT_S)
    assert until(lambda: list_named_actors(all_namespaces=True) == [])
    with pytest.raises(TypeError, match="multiple values"):
        Counters.options(name="first", lifetime="detached").remote(1, start=2)
    with pytest.raises(TypeError, match="cannot pickle"):
        Counters.options(name="first", lifetime="detached").remote(threading.Lock())
    with pytest.raises(InvalidRef, match="inside an argument"):
        Counters.options(name="first", lifetime="detached").remote([stored])
    again = Counters.options(name="first", lifetime="detached").remote(5)
    assert again.add.remote().result(LIMIT_S) == 6
    # A task starts one too, which is not its program's either.
    start = distpool.remote(start_detached)
    assert start.remote("second", 7).result(LIMIT_S) == 8
    assert start.remote("third", np.ones(100_000)).result(LIMIT_S).sum() == 200_000
    assert {actor.program.split()[0] for actor in actors()} == {"keeper"}
    with pytest.raises(InvalidRef, match="with refs among its constructor's arguments"):
        start.remote("fourth", [stored]).result(LIMIT_S)
    distpool.kill(get_actor("second"))
    distpool.kill(get_actor("third"))
    distpool.kill(again)
    assert isinstance(again.add.remote().exception(LIMIT_S), ActorDied)
