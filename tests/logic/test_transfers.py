"""Objects between processes: everybody gets every byte, though connections break and processes are lost."""

import random
from collections import Counter, deque

import pytest

from distpool.base_errors import ObjectLost, StoreFull
from distpool.ids import ObjectId, StoreId
from distpool.logic.offers import Offers
from distpool.logic.pulls import ACTIVE, AHEAD, Pulls
from distpool.logic.spread import FROM_HOME, Spread
from distpool.protocol.transfers import (
    PIECE_BYTES,
    AskObject,
    AskPiece,
    ObjectGone,
    ObjectSized,
    ObjectThere,
    PieceTold,
    Place,
)

HOME = b"home"
STORE = StoreId(7)
SILENCE_S = 2.5
A_TICK_S = 0.01


class Here:
    """An object at its home, whose pieces are their own numbers."""

    failure = ""

    def __init__(self, size):
        self.size = self.have = size

    def read(self, start, size):
        return Piece(start, size)


class Piece:
    """So many bytes of an object, without the bytes."""

    def __init__(self, start, size):
        self.start = start
        self.size = size

    def __len__(self):
        return self.size


class Copy:
    """An object on its way to a node, from which others may read it."""

    def __init__(self, no_room_for=0):
        self.size = -1
        self.have = 0
        self.failure = ""
        self.ends = []
        self.no_room_for = no_room_for

    def begin(self, size):
        if self.no_room_for:
            self.no_room_for -= 1
            return False
        self.size = size
        return True

    def write(self, start, payload):
        assert start == self.have == payload.start
        self.have += len(payload)

    def end(self, failure):
        self.failure = failure
        self.ends.append(failure)

    def read(self, start, size):
        assert start + size <= self.have
        return Piece(start, size)


class Process:
    """A home (`place` is None), or a node that listens at a place."""

    def __init__(self, world, place):
        self.world = world
        self.place = place
        self.pulls = Pulls(SILENCE_S)
        spread = Spread() if place is None else None
        self.offers = Offers(self.offer, lambda channel: channel if isinstance(channel, Place) else None, spread)
        self.copies = {}
        self.is_alive = True

    def offer(self, key):
        if self.place is None:
            return world_object(self.world, key)
        if key not in self.copies or self.copies[key].failure:
            raise ObjectLost("not here")
        return self.copies[key]

    def bring(self, key):
        self.copies[key] = Copy()
        self.pulls.bring(key, HOME, self.copies[key], self.world.now)


def world_object(world, key):
    if key not in world.objects:
        raise ObjectLost("freed")
    return world.objects[key]


class World:
    """A home, its nodes, and the connections between all of them."""

    def __init__(self, nodes):
        self.now = 0.0
        self.objects = {}
        self.home = Process(self, None)
        self.nodes = {Place(f"node {number}", ""): None for number in range(nodes)}
        for place in self.nodes:
            self.nodes[place] = Process(self, place)
        self.wires = {}
        """By (who sends, to whom)."""
        self.asked = Counter()

    def process(self, name):
        return self.home if name == HOME else self.nodes[name]

    def names(self):
        return [name for name in (HOME, *self.nodes) if self.process(name).is_alive]

    def send(self, sender, to, *said):
        if self.process(to).is_alive:
            self.wires.setdefault((sender, to), deque()).append(said)

    def turn(self, name):
        process = self.process(name)
        process.pulls.decide(self.now)
        process.offers.decide(self.now)
        while process.pulls.outbox:
            to, message = process.pulls.outbox.popleft()
            if isinstance(message, AskPiece):
                self.asked[name] += message.size
            self.send(name, to, message, None)
        while process.offers.outbox:
            to, message, payload = process.offers.outbox.popleft()
            self.send(name, to, message, payload)

    def arrive(self, sender, to):
        message, payload = self.wires[sender, to].popleft()
        process = self.process(to)
        if isinstance(message, ObjectSized | ObjectThere | ObjectGone | PieceTold):
            process.pulls.handle(sender, message, payload, self.now)
        else:
            process.offers.handle(sender, message, self.now)

    def cut(self, one, other):
        """The connection breaks with all that is on it, and there is a new one."""
        for wire in ((one, other), (other, one)):
            self.wires.pop(wire, None)
        self.process(one).pulls.connected(other, self.now)
        self.process(other).pulls.connected(one, self.now)

    def swallow(self, one, other):
        """What is on the way one way is lost, and nobody notices."""
        self.wires.pop((one, other), None)

    def kill(self, place):
        """The home is told; other nodes notice that there is no answer."""
        self.nodes[place].is_alive = False
        for wire in [wire for wire in self.wires if place in wire]:
            del self.wires[wire]
        self.home.pulls.lost(place, self.now)
        self.home.offers.lost(place)

    def step(self, chance):
        self.now += A_TICK_S
        for name in self.names():
            self.turn(name)
        wires = [wire for wire, messages in self.wires.items() if messages]
        chance.shuffle(wires)
        for wire in wires:
            for _ in range(chance.randint(0, len(self.wires[wire]))):
                self.arrive(*wire)

    def run(self, chance, is_done, limit_s):
        until = self.now + limit_s
        while not is_done():
            assert self.now < until, {name: self.process(name).copies for name in self.names()}
            self.step(chance)


def all_whole(world):
    return all(copy.ends for name in world.names() for copy in world.process(name).copies.values())


@pytest.mark.parametrize("seed", range(40))
def test_everybody_who_lives_gets_all_of_every_object_once(seed):
    chance = random.Random(seed)
    world = World(chance.randint(1, 6))
    for number in range(chance.randint(1, 2 * ACTIVE)):
        world.objects[STORE, ObjectId(number)] = Here(chance.randint(0, 30 * PIECE_BYTES))
    for place in world.nodes:
        for key in world.objects:
            if chance.random() < 0.8:
                world.nodes[place].bring(key)
    for _ in range(chance.randint(0, 40)):
        for _ in range(chance.randint(0, 12)):
            world.step(chance)
        names = world.names()
        if len(names) < 2:
            break
        one, other = chance.sample(names, 2)
        what = chance.random()
        if what < 0.5:
            world.cut(one, other)
        elif what < 0.85:
            world.swallow(one, other)
        elif len(names) > 2:
            world.kill(one if one != HOME else other)
    # Silence is noticed after three rounds at each place that an object was to come from.
    world.run(chance, lambda: all_whole(world), (len(world.nodes) + 2) * 4 * SILENCE_S)
    for name in world.names():
        for key, copy in world.process(name).copies.items():
            assert copy.ends == [""]
            assert copy.have == world.objects[key].size
        assert world.process(name).pulls.is_idle()


@pytest.mark.parametrize("nodes", [1, 2, 4, 16])
def test_an_object_that_all_nodes_want_leaves_its_home_twice_at_most(nodes):
    world = World(nodes)
    chance = random.Random(nodes)
    key = STORE, ObjectId(1)
    world.objects[key] = Here(50 * PIECE_BYTES)
    for place in world.nodes:
        world.nodes[place].bring(key)
    world.run(chance, lambda: all_whole(world), 100)
    assert world.home.offers.told_bytes == min(nodes, FROM_HOME) * 50 * PIECE_BYTES
    assert sum(node.offers.told_bytes for node in world.nodes.values()) == max(0, nodes - FROM_HOME) * 50 * PIECE_BYTES
    assert max(node.offers.told_bytes for node in world.nodes.values()) <= FROM_HOME * 50 * PIECE_BYTES
    assert all(asked == 50 * PIECE_BYTES for asked in world.asked.values()), "nothing was asked for twice"


def test_one_who_comes_later_gets_it_from_one_who_has_it():
    world = World(3)
    chance = random.Random(1)
    key = STORE, ObjectId(1)
    world.objects[key] = Here(3 * PIECE_BYTES)
    for place in world.nodes:
        world.nodes[place].bring(key)
        world.run(chance, lambda: all_whole(world), 10)
        for _ in range(10):
            world.step(chance)
    assert world.home.offers.told_bytes == 3 * PIECE_BYTES


def test_little_is_on_the_way_at_a_time():
    pulls = Pulls(SILENCE_S)
    for number in range(20):
        pulls.bring((STORE, ObjectId(number)), HOME, Copy(), 0.0)
    asked = [message for _, message in pulls.outbox]
    assert len(asked) == ACTIVE
    pulls.outbox.clear()
    for message in asked:
        pulls.handle(HOME, ObjectSized(message.number, 1000 * PIECE_BYTES), None, 0.0)
    assert sum(message.size for _, message in pulls.outbox) == ACTIVE * AHEAD * PIECE_BYTES


def test_pieces_are_asked_for_several_at_a_time():
    pulls = Pulls(SILENCE_S)
    pulls.bring((STORE, ObjectId(1)), HOME, Copy(), 0.0)
    pulls.handle(HOME, ObjectSized(1, 2 * AHEAD * PIECE_BYTES), None, 0.0)
    runs = []
    for number in range(2 * AHEAD):
        pulls.outbox.clear()
        start = number * PIECE_BYTES
        pulls.handle(HOME, PieceTold(1, start), Piece(start, PIECE_BYTES), 0.0)
        runs.append(sum(isinstance(message, AskPiece) for _, message in pulls.outbox))
    assert sum(runs) == AHEAD
    assert min(run for run in runs if run) >= AHEAD // 2


def test_what_nobody_awaits_comes_when_nothing_else_does_and_in_its_turn_when_somebody_does():
    pulls = Pulls(SILENCE_S)

    def begun():
        asked = [message.object for _, message in pulls.outbox if isinstance(message, AskObject)]
        pulls.outbox.clear()
        return asked

    early, awaited, soon, later = (ObjectId(number) for number in range(1, 5))
    pulls.bring((STORE, early), HOME, Copy(), 0.0, is_awaited=False)
    assert begun() == [early]
    pulls.bring((STORE, awaited), HOME, Copy(), 0.0)
    pulls.bring((STORE, soon), HOME, Copy(), 0.0, is_awaited=False)
    pulls.bring((STORE, later), HOME, Copy(), 0.0, is_awaited=False)
    assert begun() == [awaited]
    pulls.hurry((STORE, later), 0.0)
    assert begun() == [later]
    for number in (2, 4):  # of the transfers
        pulls.handle(HOME, ObjectSized(number, 0), None, 0.0)
    assert begun() == [soon]


def test_an_object_waits_for_room_and_its_failure_says_why_there_is_none():
    class Full(Copy):
        def begin(self, size):
            raise StoreFull("no room for it")

    pulls = Pulls(SILENCE_S)
    waits, full = Copy(no_room_for=2), Full()
    for number, copy in enumerate((waits, full), 1):
        pulls.bring((STORE, ObjectId(number)), HOME, copy, 0.0)
        pulls.handle(HOME, ObjectSized(number, PIECE_BYTES), None, 0.0)
    assert full.ends == ["no room for it"]
    assert not waits.ends
    assert pulls.decide(0.1) == pytest.approx(0.15)
    pulls.decide(0.15)
    assert waits.size == PIECE_BYTES


def test_what_is_gone_at_its_home_is_told_of():
    world = World(1)
    (node,) = world.nodes.values()
    node.bring((STORE, ObjectId(9)))
    world.run(random.Random(1), lambda: all_whole(world), 10)
    assert node.copies[STORE, ObjectId(9)].ends == ["freed"]


def test_who_asks_for_what_is_freed_is_not_counted_among_those_who_have_it():
    world = World(1)
    (node,) = world.nodes.values()
    key = STORE, ObjectId(1)
    world.home.offers.handle(node.place, AskObject(1, *key, []), 0.0)
    assert [type(message) for _, message, _ in world.home.offers.outbox] == [ObjectGone]
    assert world.home.offers._spread.holders(key) == []
    assert world.home.offers._spread.forget(key) == []


def test_what_nobody_asked_for_is_not_heard():
    pulls = Pulls(SILENCE_S)
    copy = Copy()
    pulls.bring((STORE, ObjectId(1)), HOME, copy, 0.0)
    pulls.handle(Place("elsewhere", ""), ObjectSized(1, 10), None, 0.0)
    pulls.handle(HOME, ObjectSized(99, 10), None, 0.0)
    assert copy.size == -1
    pulls.handle(HOME, ObjectSized(1, 10), None, 0.0)
    pulls.handle(HOME, PieceTold(1, 5), Piece(5, 5), 0.0)
    pulls.handle(HOME, PieceTold(1, 0), Piece(0, 11), 0.0)
    assert copy.have == 0
    pulls.handle(HOME, ObjectSized(1, 11), None, 0.0)
    assert copy.ends == ["it has 10 bytes at one place and 11 at another"]


def test_the_home_is_lost_and_everything_that_comes_from_it_fails():
    pulls = Pulls(SILENCE_S)
    copies = [Copy() for _ in range(2 * ACTIVE)]
    for number, copy in enumerate(copies):
        pulls.bring((STORE, ObjectId(number)), HOME, copy, 0.0)
    pulls.lost(HOME, 1.0)
    assert [copy.ends for copy in copies] == [["its process is lost"]] * len(copies)
    assert pulls.is_idle()
