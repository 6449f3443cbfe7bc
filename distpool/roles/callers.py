"""The callers of a node that are elsewhere, in the place of a client of its own: who owns which group and lease.

What they say goes to the node's launcher and lanes, and what these say to the owner. An address is a caller's link.
"""

from __future__ import annotations

from typing import Any

import msgspec

from distpool.base_errors import ProtocolError
from distpool.ids import LAUNCHER, NO_STORE, NODE, Address, GroupId, LeaseId, StoreId
from distpool.logic.membership import Membership
from distpool.logic.memory_guard import Running
from distpool.logic.outbox import Outbox
from distpool.logic.supplies import Supplies, check_package
from distpool.protocol.cluster import (
    DownSaid,
    EndGroup,
    FromWorker,
    Greeting,
    LeaseUnused,
    LeaveCluster,
    LetIn,
    OpenGroup,
    PeerLost,
    Refused,
    ToWorker,
    UpSaid,
    UseLease,
    Welcome,
    WorkerPrinted,
)
from distpool.protocol.code import (
    CodeMissing,
    CodePiece,
    CodeStored,
    SuppliesFailed,
    SuppliesReady,
)
from distpool.protocol.codec import decode_to_worker, encode
from distpool.protocol.messages import (
    CallsDone,
    EndWorker,
    ExitWorker,
    GroupGone,
    InterruptWorker,
    LeaseLost,
    LeaseStarted,
    RunCalls,
    StopGroup,
    StreamItems,
    TakeBack,
    TakenBack,
    WorkerLogged,
    WorkerReady,
    WorkerUnusable,
)
from distpool.roles.role import unexpected

_START_METHODS = ("spawn", "forkserver")
_SIZE_LIMIT = 65_536
_CALLS_LIMIT = 65_536
"""Of one worker, and many times what any client gives it: each costs time to take back."""


class Held(msgspec.Struct):
    """A worker that a caller uses: how many calls have come for it, and how many of them it has. `since`, `may_repeat`:
    see `Running`."""

    group: GroupId
    received: int = 0
    calls: int = 0
    since: float = 0.0
    may_repeat: bool = False


class CallersRole:
    """Has the interface of a client role, so that a node's loop cannot tell."""

    def __init__(
        self, membership: Membership, life: int, node: str, transfers: str = "", store: StoreId = NO_STORE
    ) -> None:
        """`node`: the name of this one. `transfers`, `store`: where it can be asked for objects, and its store."""
        self.outbox = Outbox()
        self.allowed: dict[str, tuple[str, str]] = {}
        """Who may connect, by the public key: what it is, and its name."""
        self._membership = membership
        self._welcome = Welcome(life, transfers=transfers, store=store)
        self._owners: dict[GroupId, Address] = {}
        # Groups whose caller is lost and whose template has not ended: what is said of them meanwhile waits, as the
        # caller may be back before that.
        self._ending: dict[GroupId, list[tuple[Address, Any]]] = {}
        self._held: dict[LeaseId, Held] = {}
        self._supplies = Supplies(node, self.outbox)

    def held_by(self, lease: LeaseId) -> int:
        """How many calls the worker of this lease holds."""
        held = self._held.get(lease)
        return 0 if held is None else held.calls

    def has_outstanding(self) -> bool:
        """Some worker has calls."""
        return any(held.calls for held in self._held.values())

    def running(self) -> list[Running]:
        """The workers that have calls."""
        return [
            Running(lease, held.group, held.since, held.may_repeat) for lease, held in self._held.items() if held.calls
        ]

    def owner_of(self, lease: LeaseId) -> Address | None:
        """The caller that uses its worker; None when it has ended."""
        held = self._held.get(lease)
        return None if held is None else self._owners.get(held.group)

    def knows(self, caller: Address) -> bool:
        """It has greeted, and has not left."""
        return self._membership.find(caller) is not None

    def decide(self, now: float) -> float | None:
        return None

    # From the node itself -------------------------------------------------------------------------------------------

    def handle(self, sender: Address, message: Any, now: float) -> None:
        match message:
            case (
                CallsDone()
                | TakenBack()
                | WorkerReady()
                | WorkerUnusable()
                | WorkerLogged()
                | WorkerPrinted()
                | UpSaid()
                | StreamItems()
            ):
                self._from_worker(LeaseId(int(sender)), message, now)
            case LeaseStarted(lease, group):
                self._held[lease] = Held(group)
                self._tell(group, message)
            case LeaseLost(lease, group):
                held = self._held.pop(lease)
                self._tell(group, msgspec.structs.replace(message, received=held.received))
            case LeaseUnused(_, group):
                self._tell(group, message)
            case GroupGone(group):
                self._tell(group, message)
                self._owners.pop(group, None)
                self._supplies.ended(group)
                self.outbox.put(NODE, EndGroup(group))
                for caller, said in self._ending.pop(group, ()):
                    self.hear(caller, said, now)
            case CodeMissing() | CodeStored() | SuppliesReady() | SuppliesFailed():
                self._supplies.told(message)
            case LetIn(members):
                self.allowed = {public: (part, name) for public, part, name in members}
            case _:
                raise unexpected("callers", sender, message)

    def _from_worker(self, lease: LeaseId, message: Any, now: float) -> None:
        held = self._held[lease]
        if isinstance(message, CallsDone):
            held.since = now
            held.calls -= len(message.outcomes)
        elif isinstance(message, TakenBack):
            held.calls -= message.calls
        self._tell(held.group, FromWorker(lease, b"".join(encode(message))))

    def _tell(self, group: GroupId, message: Any) -> None:
        owner = self._owners.get(group)
        if owner is not None:
            self.outbox.put(owner, message)

    def condemn(self, lease: LeaseId) -> None:
        """Its worker does not keep to the protocol: end it. Its caller hears of its death."""
        held = self._held.get(lease)
        if held is not None:
            self.outbox.put(LAUNCHER, EndWorker(lease, held.group, 0.0))

    # From callers ---------------------------------------------------------------------------------------------------

    def hear(self, sender: Address, message: Any, now: float) -> None:
        """What a caller has said. Of groups and leases that are no more nothing is heard. Raises ProtocolError for what
        it cannot have to say."""
        match message:
            case Greeting():
                refusal = self._membership.greet(sender, message, now)
                self.outbox.put(sender, Refused(refusal) if refusal else self._welcome)
            case PeerLost() | LeaveCluster():
                self._forget(sender)
            case _ if self._membership.find(sender) is None:
                self.outbox.put(sender, Refused("whoever wants workers has to greet first"))
            case OpenGroup(group) | UseLease(_, group) | StopGroup(group) if group in self._ending:
                self._await_end(self._ending[group], sender, message)
            case OpenGroup(group):
                _require(group not in self._owners, f"group {group} is open already")
                _check(message)
                self._owners[group] = sender
                self._supplies.open(sender, self._sharing(sender, message))
            case CodePiece():
                self._supplies.take(sender, message)
            case UseLease(lease, group):
                member = self._membership.find(sender)
                if self._owns(sender, group) and member is not None:
                    self._supplies.use(UseLease(lease, group, member.life))
            case ToWorker(lease, frame):
                held = self._held.get(lease)
                if held is not None and self._owns(sender, held.group):
                    self._to_worker(lease, held, decode_to_worker(frame), now)
            case StopGroup(group) if self._owns(sender, group):
                if self._supplies.stop(group):
                    self._tell(group, GroupGone(group))
                    del self._owners[group]
                else:
                    self.outbox.put(LAUNCHER, message)
            case EndWorker(lease, group) | InterruptWorker(lease, group) if self._owns(sender, group):
                held = self._held.get(lease)
                if held is not None:
                    _require(held.group == group, f"lease {lease} is of another group")
                    self.outbox.put(LAUNCHER, message)
            case StopGroup() | EndWorker() | InterruptWorker():
                pass  # it has ended meanwhile
            case _:
                raise unexpected("callers", sender, message)

    def _await_end(self, waiting: list[tuple[Address, Any]], sender: Address, message: Any) -> None:
        """Have it heard when the group of that name has ended. What is not refused now cannot be refused then."""
        _require(not waiting or waiting[0][0] == sender, f"group {message.group} is another's")
        if isinstance(message, OpenGroup):
            _require(
                not any(isinstance(said, OpenGroup) for _, said in waiting), f"group {message.group} is open already"
            )
            _check(message)
        waiting.append((sender, message))

    def _owns(self, caller: Address, group: GroupId) -> bool:
        """False: the group has ended. Raises ProtocolError when it is another's."""
        owner = self._owners.get(group)
        _require(owner in (None, caller), f"group {group} is another's")
        return owner is not None

    def _sharing(self, caller: Address, order: OpenGroup) -> OpenGroup:
        """Callers share no templates with each other, whatever they say."""
        member = self._membership.find(caller)
        if not order.shares or member is None:
            return order
        return msgspec.structs.replace(order, shares=f"{member.life} {order.shares}")

    def _to_worker(self, lease: LeaseId, held: Held, message: Any, now: float) -> None:
        match message:
            case RunCalls(slices):
                calls = sum(piece.count for piece in slices)
                _require(all(piece.count > 0 for piece in slices), "a run of calls has at least one")
                _require(held.calls + calls <= _CALLS_LIMIT, f"lease {lease} would hold {held.calls + calls} calls")
                if not held.calls:
                    held.since = now
                held.may_repeat = message.may_repeat and (held.may_repeat or not held.calls)
                held.received += calls
                held.calls += calls
                self.outbox.put(lease, message)
            case TakeBack():
                self.outbox.put(lease, TakeBack(lease))
            case ExitWorker() | DownSaid():
                self.outbox.put(lease, message)

    def _forget(self, caller: Address) -> None:
        """It has left, or is lost: all that it has here ends."""
        self._membership.remove(caller)
        for waiting in self._ending.values():
            waiting[:] = [said for said in waiting if said[0] != caller]
        self._supplies.lose(caller)
        for group in [group for group, owner in self._owners.items() if owner == caller]:
            busy = [lease for lease, held in self._held.items() if held.group == group]
            del self._owners[group]
            self._ending[group] = []
            self.outbox.put(LAUNCHER, StopGroup(group, True, busy))


def _check(order: OpenGroup) -> None:
    """Raises ProtocolError for a group that cannot be opened."""
    _require(0 < order.size <= _SIZE_LIMIT, f"a group of {order.size} workers: there can be 1 to {_SIZE_LIMIT}")
    _require(
        order.start_method in _START_METHODS, f"the start method {order.start_method!r} is none of {_START_METHODS}"
    )
    surroundings = order.surroundings
    check_package(surroundings)
    named = all(name and "=" not in name for name, _ in surroundings.environment)
    _require(named, "a variable without a name, or with = in it")
    texts = [order.names, *surroundings.requirements, *(text for pair in surroundings.environment for text in pair)]
    _require(not any("\0" in text for text in texts), "a text with a null character")


def _require(is_so: bool, what: str) -> None:
    if not is_so:
        raise ProtocolError(what)
