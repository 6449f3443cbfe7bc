"""What a node's groups wait for: whom code is asked of, what begins when it is there, and what is let go of."""

import pytest

from distpool.errors import ProtocolError
from distpool.ids import LAUNCHER, NODE, SUPPLIER, GroupId, LeaseId
from distpool.logic.outbox import Outbox
from distpool.logic.supplies import PIECES_AHEAD, Supplies
from distpool.protocol.cluster import (
    OpenGroup,
    UseLease,
)
from distpool.protocol.code import (
    PIECE_BYTES,
    CodeMissing,
    CodePiece,
    CodeStored,
    DropCode,
    DropSupplies,
    GatherSupplies,
    GroupFailed,
    NeedCode,
    SuppliesFailed,
    SuppliesReady,
    Surroundings,
)

PACKAGE = "ab" * 32
SIZE = 10 * PIECE_BYTES + 5


class Node:
    """The supplies of a node, and what they have said since it was last looked at."""

    def __init__(self):
        self.outbox = Outbox()
        self.supplies = Supplies("gpu-1", self.outbox)

    def said(self):
        messages = list(self.outbox.messages)
        self.outbox.messages.clear()
        return messages


@pytest.fixture
def node():
    return Node()


def order(group, package=PACKAGE, size=SIZE, requirements=()):
    surroundings = Surroundings(package, size if package else 0, [], list(requirements))
    return OpenGroup(GroupId(group), 2, "forkserver", "Worker", True, b"setup", surroundings)


def placed(message, folder="", python=""):
    import msgspec

    return msgspec.structs.replace(message, node="gpu-1", folder=folder, python=python)


def use(lease, group):
    return UseLease(LeaseId(lease), GroupId(group), 7)


def open_and_miss(node, owner, group):
    """A group whose package is not there: what is asked for then."""
    node.supplies.open(owner, order(group))
    assert node.said() == [(SUPPLIER, GatherSupplies(group, order(group).surroundings))]
    node.supplies.told(CodeMissing(group))
    return node.said()


def send_all(node, owner):
    """All pieces, as they are asked for; the offsets in the order in which they were."""
    wanted = [message.offset for _, message in asked_of(node, owner)]
    sent = []
    while wanted:
        offset = wanted.pop(0)
        sent.append(offset)
        node.supplies.take(owner, CodePiece(PACKAGE, offset, b"data"))
        said = node.said()
        assert said[0] == (SUPPLIER, CodePiece(PACKAGE, offset, b"data"))
        wanted += [message.offset for to, message in said[1:] if to == owner]
        assert len(wanted) <= PIECES_AHEAD
    return sent


def asked_of(node, owner):
    return [(to, message) for to, message in node.asked if to == owner and isinstance(message, NeedCode)]


def test_a_group_that_needs_nothing_begins_at_once(node):
    node.supplies.open("driver", order(1, package=""))
    node.supplies.use(use(5, 1))
    assert node.said() == [(LAUNCHER, placed(order(1, package=""))), (NODE, use(5, 1))]


def test_what_a_driver_says_of_this_machine_does_not_count(node):
    node.supplies.open("driver", placed(order(1, package=""), "/etc", "/bin/sh"))
    assert node.said() == [(LAUNCHER, placed(order(1, package="")))]


def test_a_group_begins_with_its_leases_when_all_is_there(node):
    node.supplies.open("driver", order(1))
    node.supplies.use(use(5, 1))
    node.supplies.use(use(6, 1))
    assert node.said() == [(SUPPLIER, GatherSupplies(1, order(1).surroundings))]
    node.supplies.told(SuppliesReady(1, "/code", "/python"))
    assert node.said() == [(LAUNCHER, placed(order(1), "/code", "/python")), (NODE, use(5, 1)), (NODE, use(6, 1))]
    node.supplies.use(use(7, 1))
    assert node.said() == [(NODE, use(7, 1))]
    node.supplies.ended(1)
    assert node.said() == [(SUPPLIER, DropSupplies(1))]


def test_a_package_is_asked_for_piece_by_piece_and_once(node):
    node.asked = open_and_miss(node, "driver", 1)
    assert node.asked == [("driver", NeedCode(PACKAGE, number * PIECE_BYTES)) for number in range(PIECES_AHEAD)]
    assert open_and_miss(node, "other", 2) == []
    assert send_all(node, "driver") == [number * PIECE_BYTES for number in range(11)]
    node.supplies.told(CodeStored(PACKAGE))
    assert node.said() == [(SUPPLIER, GatherSupplies(group, order(group).surroundings)) for group in (1, 2)]


def test_pieces_that_nobody_asked_for_are_not_taken(node):
    open_and_miss(node, "driver", 1)
    node.supplies.take("other", CodePiece(PACKAGE, 0, b"data"))
    node.supplies.take("driver", CodePiece(PACKAGE, PIECE_BYTES, b"data"))
    node.supplies.take("driver", CodePiece("cd" * 32, 0, b"data"))
    assert node.said() == []


def test_a_package_whose_driver_goes_is_asked_of_another(node):
    open_and_miss(node, "driver", 1)
    open_and_miss(node, "other", 2)
    node.supplies.take("driver", CodePiece(PACKAGE, 0, b"data"))
    node.said()
    node.supplies.lose("driver")
    assert node.said() == [
        (SUPPLIER, DropSupplies(1)),
        (SUPPLIER, DropCode(PACKAGE)),
        (SUPPLIER, GatherSupplies(2, order(2).surroundings)),
    ]
    node.supplies.told(CodeMissing(2))
    assert node.said()[0] == ("other", NeedCode(PACKAGE, 0))


def test_a_package_that_is_on_its_way_for_another_group_of_the_driver_goes_on(node):
    open_and_miss(node, "driver", 1)
    open_and_miss(node, "driver", 2)
    assert node.supplies.stop(1)
    assert node.said() == [(SUPPLIER, DropSupplies(1))]
    assert node.supplies.stop(2)
    assert node.said() == [(SUPPLIER, DropSupplies(2)), (SUPPLIER, DropCode(PACKAGE))]
    assert not node.supplies.stop(2)


def test_a_group_that_is_stopped_while_it_waits_gives_back_its_leases(node):
    open_and_miss(node, "driver", 1)
    node.supplies.use(use(5, 1))
    assert node.supplies.stop(1)
    assert node.said()[0] == (NODE, use(5, 1))
    node.supplies.told(SuppliesReady(1, "/code", ""))
    assert node.said() == [(SUPPLIER, DropSupplies(1))]


def test_a_failure_is_told_once_and_later_leases_are_given_back(node):
    node.supplies.open("driver", order(1, package="", requirements=["numpy"]))
    node.supplies.use(use(5, 1))
    node.said()
    node.supplies.told(SuppliesFailed(1, "pip failed"))
    assert node.said() == [("driver", GroupFailed(1, "pip failed")), (NODE, use(5, 1))]
    node.supplies.use(use(6, 1))
    assert node.said() == [(NODE, use(6, 1))]
    assert node.supplies.stop(1)


def test_of_whoever_sends_what_is_wrong_it_is_not_asked_again(node):
    open_and_miss(node, "driver", 1)
    open_and_miss(node, "other", 2)
    node.supplies.told(CodeStored(PACKAGE, "it is damaged"))
    failed, again = node.said()
    assert failed == ("driver", GroupFailed(1, "the code for its workers cannot be used: it is damaged"))
    assert again == (SUPPLIER, GatherSupplies(2, order(2).surroundings))
    open_and_miss(node, "third", 3)
    node.supplies.take("third", CodePiece(PACKAGE, 0, b""))
    assert (
        "third",
        GroupFailed(3, "the code for its workers cannot be used: the program does not have it any more"),
    ) in (node.said())


@pytest.mark.parametrize(
    ("package", "size"), [("../../etc", 5), ("AB" * 32, 5), (PACKAGE, 0), (PACKAGE, -1), ("ab", 5)]
)
def test_what_can_be_no_package_is_refused(node, package, size):
    with pytest.raises(ProtocolError, match="is no package"):
        node.supplies.open("driver", order(1, package, size))
