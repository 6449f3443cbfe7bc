"""A program that others call, and the links of those to it: who is let in, who is heard, and who is told of an end."""

import time

import msgspec
import pytest

from distpool.config import SETTINGS
from distpool.protocol.cluster import Greeting, LetIn, PeerLost
from distpool.protocol.messages import ReturnLease
from distpool.protocol.names import ActorTold, CallActor, EndActor, Place
from distpool.runtime.guests import Guests
from distpool.runtime.hosting import own_versions
from distpool.runtime.owners import Owners
from distpool.transport.keys import Identity, Part

OWNER_LIFE, GUEST_LIFE = 2**40, 2**41
GUEST = GUEST_LIFE.to_bytes(8, "little").hex()
CALL = CallActor(1, 3, "add", b"arguments")
LIMIT_S = 20.0
SHORT = msgspec.structs.replace(SETTINGS, connect_limit_s=0.5, silence_limit_s=0.5)


class Both:
    """An owner and a guest in one thread."""

    def __init__(self):
        head = Identity.make(Part.HEAD)
        self.identity = Identity.make(Part.DRIVER, head.public)
        self.guest_identity = Identity.make(Part.DRIVER, head.public)
        self.served, self.told, self.lost = [], [], []
        self.guests = Guests(
            "tcp://127.0.0.1:0", self.identity, OWNER_LIFE, SETTINGS, lambda *said: self.served.append(said)
        )
        greeting = Greeting("process 7", GUEST_LIFE, *own_versions())
        self.owners = Owners(
            self.guest_identity, greeting, SHORT, self.told.append, lambda *args: self.lost.append(args)
        )
        self.place = Place(OWNER_LIFE, "process 5", self.guests.endpoint, self.identity.public)

    def let_in(self, part="driver"):
        self.guests.let_in(LetIn([(self.guest_identity.public, part, "guest")]))

    def say(self, message, place=None):
        self.owners.say(place or self.place, message, time.monotonic())

    def until(self, is_so):
        give_up_at = time.monotonic() + LIMIT_S
        while not is_so():
            now = time.monotonic()
            assert now < give_up_at, (self.served, self.told, self.lost)
            for end in (self.guests, self.owners):
                if end is not None:
                    end.receive(now)
                    end.flush(now)
            time.sleep(0.001)

    def end_owner(self):
        self.guests.close()
        self.guests = None

    def close(self):
        self.owners.close()
        if self.guests is not None:
            self.guests.close()


@pytest.fixture
def both():
    made = Both()
    yield made
    made.close()


def test_who_is_let_in_is_heard_and_answered_and_its_end_is_told_once(both):
    both.let_in()
    both.say(CALL)
    both.say(EndActor(3, False))
    both.until(lambda: len(both.served) == 2)
    assert both.served == [(GUEST, CALL), (GUEST, EndActor(3, False))]
    both.guests.send(GUEST, ActorTold(1, 0, b"value"))
    both.until(lambda: both.told)
    assert both.told == [ActorTold(1, 0, b"value")]
    assert both.guests.are_there()
    both.owners.close()
    both.owners = Owners(both.guest_identity, None, SHORT, both.told.append, both.lost.append)
    both.until(lambda: len(both.served) == 3)
    assert both.served[2] == (GUEST, PeerLost())
    assert not both.guests.are_there()


@pytest.mark.parametrize("part", ["", "node"])
def test_who_is_no_program_that_the_head_lets_in_is_not_heard(both, part):
    if part:
        both.let_in(part)
    both.say(CALL)
    both.until(lambda: both.lost)
    ((life, why, is_gone),) = both.lost
    assert (life, is_gone) == (OWNER_LIFE, False)
    assert "this process's key is not let in" in why
    assert both.served == []


def test_who_is_revoked_is_not_heard_any_more(both):
    both.let_in()
    both.say(CALL)
    both.until(lambda: both.served)
    both.guests.let_in(LetIn([]))
    both.say(EndActor(3, False))
    both.until(lambda: both.lost)
    assert EndActor(3, False) not in [message for _, message in both.served]


def test_what_no_guest_may_say_ends_its_link(both):
    both.let_in()
    both.say(CALL)
    both.until(lambda: both.served)
    both.say(ReturnLease(1))
    both.until(lambda: both.lost)
    assert "ReturnLease from one who may not say that" in both.lost[0][1]
    assert both.served == [(GUEST, CALL), (GUEST, PeerLost())]


def test_a_greeting_in_the_name_of_another_process_is_none(both):
    both.let_in()
    both.owners._owners[OWNER_LIFE] = owner = both.owners._connected(both.place, time.monotonic())
    owner.link.begin_anew(time.monotonic())
    owner.link.send(Greeting("process 8", GUEST_LIFE + 1, *own_versions()))
    both.say(CALL)
    both.until(lambda: both.lost)
    assert "a greeting in the name of another process" in both.lost[0][1]
    assert both.served == []


def test_an_owner_that_has_ended_is_gone_and_one_whose_port_another_has_too(both):
    both.let_in()
    both.say(CALL)
    both.until(lambda: both.served)
    both.say(CALL, both.place._replace(life=OWNER_LIFE + 1, program="process 4"))
    both.until(lambda: both.lost)
    assert both.lost == [(OWNER_LIFE + 1, "the program that owned it, process 4, has ended", True)]
    both.end_owner()
    both.until(lambda: len(both.lost) == 2)
    assert both.lost[1] == (OWNER_LIFE, "the program that owned it, process 5, has ended", True)


def test_what_is_no_place_is_out_of_reach(both):
    both.say(CALL, both.place._replace(endpoint="ipc:///tmp/x"))
    assert both.lost == [(OWNER_LIFE, "process 5 does not listen where its actor is said to be", False)]
