"""Calls of other programs, as their owner runs them: what each is told, and that wrong ones harm nobody."""

import pickle
import random
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import distpool
from distpool.actors import actor_class, kill
from distpool.actors.hosted import Hosted
from distpool.objects.outcomes import open_outcome
from distpool.protocol.actors import ActorEnd
from distpool.protocol.cluster import PeerLost
from distpool.protocol.messages import OutcomeKind
from distpool.protocol.names import ActorStarted, ActorTold, CallActor, CancelActorCall, EndActor, StartActor
from distpool.runtime.session import exclusively
from distpool.serialization.remote_errors import decode_failure
from tests.actors.classes import Counter, Keeper
from tests.roles.wrong_messages import WrongMessages
from tests.runtime.programs import until

LIMIT_S = 20.0
WRONG = CallActor | CancelActorCall | StartActor


class Owner:
    """This program with one actor, whose guests are pretended."""

    def __init__(self, cls=Counter, *args):
        self.handle = actor_class(cls).remote(*args)
        self.life = self.handle._life
        self.session = self.life.workers._session
        self.told = []
        programs = SimpleNamespace(
            answer=lambda guest, message: self.told.append((guest, message)), name="process 5", wait=None
        )
        self.hosted = Hosted(self.session, programs)
        self.hosted.begun(self.life.number, self.life)

    def say(self, guest, *messages):
        for message in messages:
            self.session.post(self.hosted.serve, guest, message)

    def call(self, number, method, *args, guest="guest", **options):
        self.say(guest, CallActor(number, self.life.number, method, pickle.dumps((args, {})), **options))

    def answer(self, number, guest="guest"):
        """What it is told of its call."""
        assert until(lambda: any(to == guest and told.number == number for to, told in self.told), LIMIT_S)
        (told,) = [told for to, told in self.told if to == guest and told.number == number]
        return told

    def value(self, number, guest="guest"):
        told = self.answer(number, guest)
        is_value, value = open_outcome((told.kind, told.payload), Exception)
        assert is_value, value
        return value


@pytest.fixture
def owner():
    yield Owner(Counter, 5)
    distpool.shutdown()


def test_each_guest_is_told_of_its_own_calls_and_large_values_are_in_their_pickle(owner):
    owner.call(1, "add", 2)
    owner.call(1, "add", 3, guest="other")
    owner.call(2, "large", 300_000)
    owner.call(3, "pair", 7, returns=2)
    owner.call(4, "total_of", np.ones(100_000))
    assert (owner.value(1), owner.value(1, "other")) == (7, 10)
    assert owner.answer(2).kind == OutcomeKind.VALUE
    assert owner.value(2) == b"x" * 300_000
    assert tuple(owner.value(3)) == (7, 8)
    assert owner.value(4) == 100_000
    assert owner.handle.add.remote().result(LIMIT_S) == 11


@pytest.mark.parametrize(
    ("method", "options", "text"),
    [
        ("no", {}, "has no method 'no'"),
        ("add", {"group": "io"}, "which its actor does not have"),
        ("add", {"returns": -2}, "cannot give -2 values"),
        ("add", {"retries": -1}, "run again -1 times"),
        ("fail", {}, "not there"),
    ],
)
def test_what_cannot_be_called_is_told_so(owner, method, options, text):
    owner.call(1, method, **options)
    told = owner.answer(1)
    assert told.kind == OutcomeKind.ERROR
    assert text in str(decode_failure(told.payload)[0])


def test_values_with_handles_in_them_are_refused():
    owner = Owner(Keeper)
    owner.hosted.begun(owner.life.number, owner.life)
    kept = actor_class(Keeper).remote(owner.handle)
    kept_owner = Owner.__new__(Owner)
    kept_owner.__dict__.update(owner.__dict__, handle=kept, life=kept._life)
    kept_owner.hosted.begun(kept._life.number, kept._life)
    kept_owner.call(1, "pass_on")
    told = kept_owner.answer(1)
    assert told.kind == OutcomeKind.ERROR
    assert "has refs of tasks, or handles of actors, in it" in str(decode_failure(told.payload)[0])
    distpool.shutdown()


def test_calls_before_the_begin_wait_for_it_and_those_of_an_actor_that_never_begins_are_told_so(owner):
    owner.hosted.expect(owner.life.number)
    owner.call(1, "add")
    exclusively(lambda: None)
    assert owner.told == []
    owner.hosted.begun(owner.life.number, owner.life)
    assert owner.value(1) == 6
    owner.hosted.expect(2**40)
    owner.say("guest", CallActor(2, 2**40, "add", b""))
    owner.hosted.begun(2**40, None)
    end = msgspec.msgpack.decode(owner.answer(2).payload, type=ActorEnd)
    assert "nothing is known of it any more" in end.text


def test_a_call_is_taken_back_and_a_guest_that_is_lost_is_told_nothing(owner, tmp_path):
    owner.call(1, "wait_for", str(tmp_path / "gate"))
    assert until(lambda: (tmp_path / "gate.begun").exists())
    owner.call(2, "add", 100)
    owner.call(3, "add", 1000, guest="lost")
    owner.say("guest", CancelActorCall(2), CancelActorCall(77))
    assert owner.answer(2).kind == OutcomeKind.CANCELLED
    owner.say("lost", PeerLost())
    (tmp_path / "gate").touch()
    assert owner.value(1) == 6
    owner.call(4, "add", 0)
    # What the lost guest has asked for has run; what was taken back may have been sent before.
    assert owner.value(4) in (1006, 1106)
    assert "lost" not in [guest for guest, _ in owner.told]


@pytest.mark.parametrize("by_guest", [True, False])
def test_after_its_end_calls_are_told_of_it(owner, by_guest):
    if by_guest:
        owner.say("guest", EndActor(owner.life.number, False))
    else:
        kill(owner.handle)
    owner.call(1, "add")
    told = owner.answer(1)
    assert told.kind == OutcomeKind.ACTOR_DIED
    end = msgspec.msgpack.decode(told.payload, type=ActorEnd)
    assert "it was killed by distpool.kill" in end.text
    assert 0.0 <= end.at < LIMIT_S, "for how long, as clocks differ"


@pytest.mark.parametrize("seed", range(3))
def test_wrong_guests_harm_nobody(owner, seed):
    rng = random.Random(seed)
    messages = WrongMessages(rng, WRONG, (owner.life.number, 1, 2, 3))
    for number in range(1, 101):
        wrong = messages.next()
        if isinstance(wrong, CallActor) and rng.random() < 0.5:
            wrong = msgspec.structs.replace(wrong, actor=owner.life.number, method=rng.choice(["add", "total_of"]))
        owner.say("wrong", wrong)
        if number % 10 == 0:
            owner.call(number, "add", 0)
    assert [owner.value(number) for number in range(10, 101, 10)] == [5] * 10
    refused = [told for guest, told in owner.told if isinstance(told, ActorStarted)]
    assert all(told.actor is None and told.failure for told in refused)
    assert all(isinstance(told, ActorTold | ActorStarted) for _, told in owner.told)
    assert owner.handle.add.remote().result(LIMIT_S) == 6
