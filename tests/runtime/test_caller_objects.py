"""What a node has brought before anybody there needs it: only into room that is free."""

import pytest

from distpool.config import Settings
from distpool.ids import ObjectId, StoreId
from distpool.objects.stores import home
from distpool.protocol.objects import BringSoon, ForgetObjects, WantTransfers
from distpool.protocol.transfers import AskObject, ObjectGone
from distpool.runtime import caller_objects
from distpool.runtime.caller_objects import CallerObjects
from distpool.runtime.channels import Channels
from distpool.transport.keys import Identity, Part

CALLER = (7).to_bytes(8, "little").hex()
STORE = StoreId(7)
SIZE = 1000


@pytest.fixture
def said():
    return []


@pytest.fixture
def objects(said):
    channels = Channels(Identity.make(Part.NODE), b"12345678")
    made = CallerObjects(channels, Settings(), lambda lease: None, lambda *message: said.append(message))
    yield made
    made.forget(CALLER, 0.0)
    channels.close()


def asked(objects):
    messages = [message for _, message in objects.transfers.pulls.outbox]
    objects.transfers.pulls.outbox.clear()
    return [message.object for message in messages if isinstance(message, AskObject)]


def hear(objects, *numbers, store=STORE, size=SIZE):
    objects.hear(CALLER, BringSoon([(store, ObjectId(number), size) for number in numbers]), 0.0)


def test_what_a_call_will_need_is_asked_for_once_and_its_program_told_to_connect(objects, said):
    hear(objects, 1, 2)
    hear(objects, 2)
    assert asked(objects) == [1, 2]
    assert (CALLER, WantTransfers()) in said


def test_its_own_objects_and_sizes_that_are_none_are_left_out(objects):
    hear(objects, 1, store=home().id)
    hear(objects, 2, size=-1)
    assert asked(objects) == []


def test_nothing_comes_into_a_store_that_others_may_need(objects, monkeypatch):
    limit = home().stats().limit_bytes
    monkeypatch.setattr(caller_objects, "_SHARE_AHEAD", (home().stats().used_bytes + 2.5 * SIZE) / limit)
    hear(objects, 1, 2, 3)
    assert asked(objects) == [1, 2], "what is on its way counts too"


def test_what_is_not_to_be_had_is_asked_for_again_by_who_needs_it(objects):
    route = bytes.fromhex(CALLER)
    hear(objects, 1)
    assert asked(objects) == [1]
    objects.transfers.pulls.handle(route, ObjectGone(1, "freed"), None, 0.0)
    hear(objects, 1)
    assert asked(objects) == [1]


def test_what_the_program_keeps_no_more_may_be_asked_for_anew(objects):
    hear(objects, 1)
    objects.hear(CALLER, ForgetObjects(STORE, [ObjectId(1)]), 0.0)
    assert objects._owned[CALLER].copies == {}
