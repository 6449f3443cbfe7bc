"""Whoever has a key and says what it should not, in whatever order, harms nobody else and ends no process."""

import random
from types import SimpleNamespace
from unittest import mock

import pytest

from distpool.base_errors import ProtocolError
from distpool.config import SETTINGS
from distpool.ids import CLIENT, HEAD, LAUNCHER, NODE, Epoch, GroupId, LeaseId, NodeId
from distpool.logic.calls import Bundle, CallOptions
from distpool.logic.group_plan import GroupPlan
from distpool.logic.recovery import epoch_of, first_lease
from distpool.protocol.cluster import (
    FromWorker,
    Greeting,
    LeaseGranted,
    LeaseUnused,
    LetIn,
    LinkHeader,
    NodeGone,
    OpenGroup,
    Refused,
    RevokeLease,
    ToWorker,
    UseLease,
    Welcome,
)
from distpool.protocol.code import GroupFailed
from distpool.protocol.codec import decode_from_worker, decode_link, decode_to_worker, encode, encode_header
from distpool.protocol.messages import (
    CallMode,
    Death,
    EndWorker,
    FunctionBlob,
    GrantLease,
    GroupGone,
    LeaseLost,
    LeaseStarted,
    RegisterNode,
    RequestLeases,
    RunCalls,
    Slice,
    StartWorker,
    StopGroup,
    WorkerExited,
    WorkerReady,
)
from distpool.protocol.resources import Claim, Offer
from distpool.protocol.rights import CALLER_MAY_SAY, DRIVER_MAY_SAY, NODE_MAY_SAY
from distpool.roles.client import ClientRole
from distpool.roles.node import NodeRole
from distpool.roles.nodes import NodesRole
from distpool.runtime import caller_links
from distpool.runtime.caller_links import CallerLinks
from distpool.runtime.hosting import HeadHost, own_versions
from distpool.transport.keys import Allowed, Part
from distpool.transport.sockets import Incoming
from tests.roles.wrong_messages import FRAMES, NUMBERS, WrongMessages, frames_of
from tests.runtime.test_links import FakeListener

SEEDS = range(25)
MESSAGES = 80
GOOD, WRONG, NODE_LIFE = 1001, 1002, 1003
GROUP, OTHER_GROUP = GroupId(5), GroupId(6)
LEASE = first_lease(4)
ENDPOINT = "tcp://10.0.0.1:4000"
CALL = b"".join(encode(RunCalls([Slice(1, 0, 1, False, b"x")], [])))


class Listener(FakeListener):
    """Frames in lists. Whoever is connected keeps its connection."""

    endpoint = ENDPOINT

    def __init__(self, *_):
        super().__init__()
        drivers = {key: Allowed(key, Part.DRIVER, key) for key in ("good", "wrong")}
        nodes = {key: Allowed(key, Part.NODE, key) for key in ("node", "wrong node")}
        self.members = drivers | nodes
        self.doorman = SimpleNamespace(find=self.members.get)

    def has_some(self):
        return False

    def close(self):
        pass


class Peer:
    """One that has connected. Should its link be ended it begins another."""

    def __init__(self, listener, links, life, key):
        self._listener = listener
        self._server = links._epoch
        self._route = life.to_bytes(8, "little")
        self._key = key
        self._life = life
        self._epoch = Epoch(life * 1000)
        self.greet()

    def greet(self):
        self._number = 0
        self._epoch = Epoch(self._epoch + 1)
        self.say(encode(Greeting(self._key, self._life, *own_versions())))

    def say(self, frames):
        self._number += 1
        receiver = self._server if self._number > 1 else Epoch(0)
        header = encode_header(LinkHeader(self._epoch, receiver, self._number, 0))
        framed = [memoryview(frame) for frame in (header, *frames)]
        self._listener.incoming.append(Incoming(self._route, self._key, framed, self._life))

    def heard(self):
        """What it was told, and whether its link has ended."""
        mine = [(header, payload) for route, header, payload in self._listener.sent if route == self._route]
        is_over = any(header.unknown and header.receiver == self._epoch for header, _ in mine)
        # It never answers, and so is told all again and again.
        told = {header.number: decode_link(b"".join(payload)) for header, payload in mine if payload and header.number}
        return list(told.values()), is_over


class Worked:
    """A node's agent with a launcher that only takes notes, and takes no order that makes no sense."""

    def __init__(self):
        self.now = 100.0
        with (
            mock.patch.object(caller_links, "Listener", Listener),
            mock.patch.object(caller_links, "Supplier", mock.create_autospec(caller_links.Supplier)),
        ):
            self.callers = CallerLinks(ENDPOINT, None, "node", SETTINGS)
        self.callers._supplier.take_answers.return_value = []
        self.callers._supplier.has_answers.return_value = False
        self.listener = self.callers.listener
        # What it asks for of objects is no frame of a link, and is not answered.
        self.callers.objects.transfers.channels._listener.send = mock.Mock()
        self.node = NodeRole(NodeId("node"), Offer(4), ENDPOINT, "node")
        self.sizes = {}
        self.workers = {}
        self.calls = []
        self.node.handle(HEAD, Welcome(1, 4, epoch_of(LEASE)), self.now)
        self.callers.handle(NODE, LetIn([("good", "driver", "good"), ("wrong", "driver", "wrong")]), self.now)

    def turn(self):
        self.now += 0.01
        self.callers.receive(self.now)
        while self.callers.outbox.messages or self.node.outbox.messages:
            for role in (self.callers, self.node):
                while role.outbox.messages:
                    self._deliver(*role.outbox.messages.popleft())
            self.node.decide(self.now)
        self.callers.flush(self.now)

    def _deliver(self, to, message):
        if isinstance(to, int):
            assert to in self.workers, f"there is no worker of lease {to} for {message}"
            if isinstance(message, RunCalls):
                encode(message)
                assert all(0 < piece.count < 2**20 for piece in message.slices)
                self.calls.append(to)
        elif to == LAUNCHER:
            self._launch(message)
        elif to == CLIENT:
            self.callers.handle(NODE, message, self.now)
        elif to == NODE:
            self.node.handle(CLIENT, message, self.now)

    def _launch(self, message):
        match message:
            case OpenGroup(group, size):
                assert group not in self.sizes, "opened twice"
                assert 0 < size < 2**20
                self.sizes[group] = size
            case StartWorker(lease, group):
                assert lease not in self.workers, "started twice"
                if list(self.workers.values()).count(group) < self.sizes.get(group, 0):
                    self.workers[lease] = group
                else:  # as the launcher does it
                    self.node.handle(LAUNCHER, WorkerExited(lease, group, Death(0, -9)), self.now)
            case EndWorker(lease, group):
                if self.workers.get(lease) == group:
                    self._end(lease)
            case StopGroup(group):
                for lease in [lease for lease, of in self.workers.items() if of == group]:
                    self._end(lease)
                if self.sizes.pop(group, None) is not None:
                    self.node.handle(LAUNCHER, GroupGone(group), self.now)

    def _end(self, lease):
        group = self.workers.pop(lease)
        self.node.handle(LAUNCHER, WorkerExited(lease, group, Death(1, -9)), self.now)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_driver_ends_no_agent_and_touches_no_worker_of_others(seed):
    rng = random.Random(seed)
    there = Worked()
    good, wrong = (
        Peer(there.listener, there.callers._links, life, key) for life, key in ((GOOD, "good"), (WRONG, "wrong"))
    )
    good.say(encode(OpenGroup(GROUP, 2, "spawn", "Worker", True, b"")))
    good.say(encode(UseLease(LEASE, GROUP)))
    there.node.handle(HEAD, GrantLease(LEASE, GROUP, GOOD), there.now)
    there.turn()
    assert there.workers == {LEASE: GROUP}
    known = (GROUP, OTHER_GROUP, GroupId(7), *range(LEASE - 1, LEASE + 5), GOOD, WRONG)
    messages = WrongMessages(rng, CALLER_MAY_SAY, known)
    for number in range(MESSAGES):
        match rng.randrange(10):
            case 0:
                wrong.say([b"\xc1"])
            case 1:
                wrong.say(encode(OpenGroup(OTHER_GROUP, 1, "spawn", "Worker", True, b"")))
            case 2:
                wrong.say(encode(UseLease(LEASE + 1 + number % 3, OTHER_GROUP)))
            case 3:
                there.node.handle(HEAD, GrantLease(LEASE + 1 + number % 3, OTHER_GROUP, WRONG), there.now)
            case _:
                wrong.say(frames_of(messages.next()))
        if rng.random() < 0.5:
            there.turn()
        if wrong.heard()[1]:
            wrong.greet()
    # It asks for what is about to be somebody else's.
    wrong.say(encode(UseLease(LEASE + 9, GROUP)))
    wrong.say(encode(UseLease(LEASE + 9, OTHER_GROUP)))
    there.turn()
    good.say(encode(UseLease(LEASE + 9, GROUP)))
    there.node.handle(HEAD, GrantLease(LEASE + 9, GROUP, GOOD), there.now)
    there.turn()
    assert there.workers[LEASE] == there.workers[LEASE + 9] == GROUP
    assert LEASE not in there.calls
    good.say(encode(ToWorker(LEASE, CALL)))
    there.turn()
    assert there.calls[-1] == LEASE
    told, is_over = good.heard()
    assert not is_over
    assert [message for message in told if isinstance(message, LeaseStarted | LeaseUnused)] == [
        LeaseStarted(LEASE, GROUP),
        LeaseStarted(LEASE + 9, GROUP),
    ]
    there.callers.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_driver_or_node_ends_no_head_and_takes_no_lease_or_node_of_others(seed):
    rng = random.Random(seed)
    listener = Listener()
    head = HeadHost(listener, SETTINGS, 0.0)
    links = head._links
    node, good = Peer(listener, links, NODE_LIFE, "node"), Peer(listener, links, GOOD, "good")
    node.say(encode(RegisterNode("node", 2, 0, ENDPOINT, "node")))
    good.say(encode(RequestLeases(GROUP, 1)))
    head.turn(0.1)
    (lease,) = (message.lease for message in good.heard()[0] if isinstance(message, LeaseGranted))
    wrong = Peer(listener, links, WRONG, "wrong")
    wrong_node = Peer(listener, links, WRONG + 5, "wrong node")
    known = (GROUP, OTHER_GROUP, *range(lease - 1, lease + 5), GOOD, WRONG, NODE_LIFE)
    sources = [
        (wrong, WrongMessages(rng, DRIVER_MAY_SAY, known)),
        (wrong_node, WrongMessages(rng, NODE_MAY_SAY, known)),
    ]
    now = 0.2
    for _ in range(MESSAGES):
        peer, messages = rng.choice(sources)
        match rng.randrange(8):
            case 0:
                peer.say([b"\xc1"])
            case 1:
                name = rng.choice(["node", "wrong node", "other"])
                wrong_node.say(
                    encode(RegisterNode(name, 2, 0, ENDPOINT, "wrong node", [Claim(lease, GOOD), Claim(lease, WRONG)]))
                )
            case _:
                peer.say(frames_of(messages.next()))
        if rng.random() < 0.5:
            now += 0.01
            head.turn(now)
        for each in (wrong, wrong_node):
            if each.heard()[1]:
                each.greet()
    head.turn(now + 0.1)
    assert head.role.placement.node_of(lease) == "node"
    assert head.role.leasing.callers[lease] == GOOD
    told = [message for peer in (good, node) for message in peer.heard()[0]]
    assert not [message for message in told if isinstance(message, NodeGone | Refused)]
    assert RevokeLease(lease) not in told


OF_LEASES = LeaseStarted | LeaseUnused | LeaseLost | FromWorker | GroupGone | GroupFailed | Refused
"""What a node may say to a driver, but for what its links and its objects hear."""


class Calls:
    """The sink of a driver's calls."""

    def __init__(self):
        self.kinds = {}

    def begin(self):
        return True

    def put_back(self):
        pass

    def deliver(self, first, outcomes):
        for position, (kind, _) in enumerate(outcomes, first):
            assert position not in self.kinds, "ended twice"
            self.kinds[position] = kind


class Driven:
    """A driver: its links' role and its client, with nodes that are only names."""

    def __init__(self):
        self.nodes = NodesRole()
        self.client = ClientRole(SETTINGS)
        self.sink = Calls()
        self.now = 100.0
        self.sent = {}
        self.nodes.open(OpenGroup(GROUP, 2, "spawn", "Worker", True, b""))
        self.group = self.client.open(GROUP, GroupPlan(2, is_far=True))
        self.client.functions[1] = FunctionBlob(1, b"", False)
        self.client.submit(
            self.group, [Bundle(1, CallMode.ITEM, list(range(20)), self.sink, 0, 1, CallOptions(retries=9))]
        )

    def turn(self):
        self.now += 0.003
        self.client.decide(self.now)
        while self.client.outbox.messages or self.nodes.outbox.messages:
            while self.client.outbox.messages:
                to, message = self.client.outbox.messages.popleft()
                if isinstance(to, int):
                    self.nodes.pass_on(to, message)
                elif to == LAUNCHER:
                    self.nodes.obey(message)
            while self.nodes.outbox.messages:
                to, message = self.nodes.outbox.messages.popleft()
                if to == CLIENT and isinstance(message, FromWorker):
                    self._from_worker(message)
                elif to == CLIENT:
                    self.client.handle(NODE, message, self.now)
                elif isinstance(message, ToWorker):
                    self.sent.setdefault(message.lease, []).append(decode_to_worker(message.frame))
            self.client.decide(self.now)
        while self.client.outbox.completions:
            bundle, first, outcomes = self.client.outbox.completions.popleft()
            bundle.sink.deliver(first, outcomes)

    def _from_worker(self, told):
        try:
            message = decode_from_worker(told.frame)
            self.nodes.check(told.lease, message)
        except ProtocolError as error:
            self.nodes.hear(NodeId(told.node), Refused(str(error)))
        else:
            self.client.handle(told.lease, message, self.now)

    def hear(self, node, message):
        try:
            self.nodes.hear(NodeId(node), message)
        except ProtocolError as error:
            self.nodes.hear(NodeId(node), Refused(str(error)))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_wrong_node_ends_no_driver_and_tells_of_no_worker_of_others(seed):
    rng = random.Random(seed)
    driver = Driven()
    driver.nodes.handle(HEAD, LeaseGranted(LEASE, GROUP, NodeId("good"), ENDPOINT, "key"), driver.now)
    driver.hear("good", LeaseStarted(LEASE, GROUP))
    driver.hear("good", FromWorker(LEASE, b"".join(encode(WorkerReady()))))
    driver.turn()
    messages = WrongMessages(rng, OF_LEASES, (GROUP, OTHER_GROUP, *range(LEASE, LEASE + 5)))
    for number in range(MESSAGES):
        lease = LeaseId(LEASE + 1 + number // 8)
        match rng.randrange(12):
            case 0 if driver.nodes.node_of(lease) is None:
                driver.nodes.handle(HEAD, LeaseGranted(lease, GROUP, NodeId("wrong"), ENDPOINT, "key"), driver.now)
            case 1:
                driver.hear("wrong", LeaseStarted(lease, GROUP))
            case 2:
                driver.hear("wrong", FromWorker(lease, b"".join(encode(WorkerReady()))))
            case 3:
                driver.hear(
                    "wrong", LeaseLost(lease, GROUP, Death(1, -9, 0, rng.choice(NUMBERS), rng.choice(NUMBERS)), -5)
                )
            case 4 | 5:
                driver.hear("wrong", FromWorker(lease, rng.choice(FRAMES)))
            case _:
                driver.hear("wrong", messages.next())
        driver.turn()
        if driver.group.reason:
            break
    assert driver.nodes.node_of(LEASE) == "good"
    if driver.group.reason:
        assert "on node 'wrong' " in driver.group.reason
        assert len(driver.sink.kinds) == 20, "a pool that is broken leaves no call without an end"
