"""What calls on nodes do."""

import logging
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import distpool
from distpool.protocol.upcalls import AwaitPromises, KeepPromises
from distpool.runtime.own_way_up import way_up

state = {}


def square(x):
    return x * x


def where(_=None):
    """(name of the node's process, pid of the worker)"""
    return node_of(os.getpid()), os.getpid()


def node_of(pid):
    """The pid of the node's agent: the parent of the worker's template."""
    template = os.getppid()
    return int(Path(f"/proc/{template}/stat").read_text().rsplit(")", 1)[1].split()[1])


def where_slowly(seconds):
    time.sleep(seconds)
    return where()


def set_up(key, value):
    state[key] = value


def state_of(key):
    return state.get(key)


def fail(text):
    raise KeyError(text)


def die(_=None):
    os.kill(os.getpid(), signal.SIGKILL)


def append(path, text, seconds=0.0):
    """Writes down that it has begun."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)
    time.sleep(seconds)
    return text


def append_and_tell_where(path, text, seconds):
    """(the text, the node)"""
    return append(path, text, seconds), node_of(os.getpid())


def shout(text):
    print(text)
    print(text, file=sys.stderr)
    logging.getLogger("tests.cluster").warning("logged %s", text)
    return text


def double(array):
    array *= 2  # arrays arrive writable
    return array


def put_it(value):
    return distpool.put(value)


def total(array):
    return float(np.sum(array))


def add(one, other, *, third=0):
    return one + other + third


def in_a_pool(numbers):
    with distpool.Pool(2) as pool:
        return pool.map(square, numbers)


@distpool.remote
def totals_in_a_pool(values):
    """Of tasks that workers of a pool start, which a worker has made."""
    with distpool.Pool(2) as pool:
        return pool.map(total_by_tasks, values)


def total_by_tasks(value):
    total, _ = distpool.get(remote_total.remote(remote_ones.remote(100_000 * value)))
    return total, distpool.get(plus.remote(value, 1))


def put_array(size, value):
    return distpool.put(np.full(size, value))


def ones(size):
    return np.ones(size)


def total_of_ref(refs):
    return float(distpool.get(refs[0]).sum())


def keep_ref(refs):
    state["refs"] = refs


def total_of_kept():
    return float(distpool.get(state["refs"][0]).sum())


def drop_kept():
    del state["refs"]


def same_ref(refs):
    return refs


def store_use(_=None):
    """(the node's agent, objects in its store)"""
    return node_of(os.getpid()), distpool.store_stats().objects


def store_use_slowly(seconds):
    time.sleep(seconds)
    return store_use()


def add_total(array, x):
    return float(array.sum()) + x


def total_after(path, array):
    """Waits until there is a file."""
    until = time.monotonic() + 60.0
    while not os.path.exists(path):
        assert time.monotonic() < until
        time.sleep(0.005)
    return float(array.sum())


def shape_of(key):
    return state[key].shape


def die_with(array):
    state["array"] = array
    die()


def total_slowly(array):
    time.sleep(0.3)
    return total(array)


def put_here(size):
    time.sleep(0.02)
    return node_of(os.getpid()), distpool.put(np.ones(size))


def where_is(array):
    return node_of(os.getpid())


def ask_program(first, payload):
    """What the program says by the way up: it is told `first`, and asked for as many bytes as `payload` has."""
    lane = way_up()
    lane.tell(KeepPromises([first], []))
    told = lane.ask(lambda number: AwaitPromises(number, [first, len(payload)], 2))
    return told.ready, [outcome.payload for outcome in told.outcomes]


def speak_nonsense():
    way_up()._sock.send(b"no message")
    signal.pause()


@distpool.remote
def plus(x, y=0):
    return x + y


@distpool.remote
def remote_ones(size):
    return np.ones(size)


@distpool.remote
def remote_total(array):
    return float(array.sum()), node_of(os.getpid())


@distpool.remote
def fibonacci(n):
    return n if n < 2 else sum(distpool.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))


@distpool.remote
def totals_of(size, count):
    """Arrays that go up with calls and come back as values, and refs that become arguments: (totals, nodes)."""
    array = np.full(size, 2.0)
    told = distpool.get([remote_total.remote(array) for _ in range(count)])
    told += distpool.get([remote_total.remote(remote_ones.remote(size)) for _ in range(count)])
    back = float(distpool.get(remote_ones.remote(size)).sum())
    by_put = distpool.get(remote_total.remote(distpool.put(array)))[0]
    return [total for total, _ in told], back, by_put, {node for _, node in told}


@distpool.remote
def pass_on(count):
    return [plus.remote(number, 100) for number in range(count)]


@distpool.remote
def put_refs(count, size):
    return distpool.put([np.ones(size), *(plus.remote(number, 100) for number in range(count))])


def opened(value):
    array, *refs = value
    return distpool.get(refs), array.sum()


@distpool.remote
def open_refs(value):
    return opened(distpool.get(value[0]) if len(value) == 1 else value)


@distpool.remote(num_cpus=0)
def use_a_group():
    """What two tasks in a group of one node are told, and the node of its bundles."""
    group = distpool.placement_group([{"CPU": 1}, {"CPU": 1}], "STRICT_PACK")
    assert group.wait(20)
    inside = told_of_itself.options(placement_group=group)
    told = distpool.get([inside.options(bundle=number).remote() for number in range(2)])
    nodes = group.nodes
    assert set(nodes) < {node.name for node in distpool.nodes()}
    distpool.remove_placement_group(group)
    return told, nodes


@distpool.remote
def told_of_itself():
    context = distpool.get_runtime_context()
    return context.get_job_id(), context.get_node_id(), context.get_assigned_resources()


@distpool.remote
def arrays(number, size):
    """(an array, the node that has made it)"""
    for item in range(number):
        yield np.full(size, float(item)), node_of(os.getpid())


@distpool.remote
def gated_items(path, number):
    """Waits before the last one until there is a file."""
    for item in range(number):
        if item == number - 1:
            total_after(path, np.zeros(0))
        yield item, node_of(os.getpid())


@distpool.remote
def taken(number, size):
    """What a task on a node gets of a generator that it starts: (totals, nodes)."""
    items = [distpool.get(ref) for ref in arrays.remote(number, size)]
    return [float(array.sum()) for array, _ in items], {node for _, node in items}


@distpool.remote
class Generating:
    async def items(self, number, size):
        for item in range(number):
            yield np.full(size, float(item))

    async def total(self, number, size):
        return sum([float((await ref)[0].sum()) async for ref in arrays.remote(number, size)])


@distpool.remote(num_cpus=0)
def run_until_interrupted(path):
    """Writes down that it has begun, and that it was interrupted."""
    try:
        append(path, "begun")
        time.sleep(60.0)
    except KeyboardInterrupt:
        append(path, "interrupted")


@distpool.remote(num_cpus=0)
def run_two(path):
    return distpool.get([run_until_interrupted.remote(path) for _ in range(2)])


@distpool.remote(num_returns=2)
def ones_and_where(size):
    return np.ones(size), node_of(os.getpid())


@distpool.remote
def total_when_told(path, gate, array):
    """Writes down where it runs, and waits until there is a file `gate`."""
    append(path, node_of(os.getpid()))
    total_after(gate, array)
    return float(array.sum()), node_of(os.getpid())


@distpool.remote(num_cpus=0.5)
def task_id():
    return distpool.get_runtime_context().get_task_id()
