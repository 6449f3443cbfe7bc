"""What a loop does with its lanes and templates: read them, look into rings, bury the dead, send and take back."""

from __future__ import annotations

from collections.abc import Callable

from distpool.ids import GroupId, LeaseId
from distpool.protocol.messages import Death, Message, RunCalls, TakeBack, TakenBack
from tests.simulation.pretend import PretendLane, Surroundings
from tests.simulation.templates import PretendLauncher
from tests.simulation.transcript import Violation

Hear = Callable[[LeaseId, Message], None]


class Hands:
    """Of one loop. `hear`: what a lane says; `held_by`: how many calls a worker holds."""

    def __init__(
        self,
        world: Surroundings,
        launcher: PretendLauncher,
        hear: Hear,
        held_by: Callable[[LeaseId], int],
        is_known: Callable[[LeaseId], bool] = lambda lease: True,
    ) -> None:
        """`is_known`: whether the client has heard of a lease yet; its lane is not read before."""
        self.lanes: dict[LeaseId, PretendLane] = {}
        self.launcher = launcher
        self._world = world
        self._hear = hear
        self._held_by = held_by
        self._is_known = is_known
        self._peek_at: dict[LeaseId, float] = {}

    def news_at(self) -> float | None:
        """When there is something to read, or a ring is to be looked at; None: nothing is expected."""
        if (self.lanes and self._lanes_with_news()) or any(map(self.launcher.is_readable, self.launcher.crews)):
            return self._world.now
        return min(self._peek_at.values(), default=None)

    def read(self, read_template: Callable[[GroupId], None]) -> None:
        """All that has news, in any order; then the rings of workers that have been silent."""
        lanes = self._lanes_with_news()
        groups = [group for group in self.launcher.crews if self.launcher.is_readable(group)]
        readable: list[Callable[[], None]] = [
            *(lambda lease=lease: self.read_lane(lease) for lease in lanes),  # type: ignore[misc]
            *(lambda group=group: read_template(group) for group in groups),  # type: ignore[misc]
        ]
        self._world.rng.shuffle(readable)
        for read in readable:
            read()
        for lease in [lease for lease, at in self._peek_at.items() if at <= self._world.now]:
            del self._peek_at[lease]
            self._peek_lane(lease)

    def read_lane(self, lease: LeaseId) -> None:
        lane = self.lanes.get(lease)
        if lane is None:
            return  # It was buried in this very turn.
        lane.flush()
        for message in lane.receive():
            self._hear(lease, message)
        if self._held_by(lease):
            self._peek_at[lease] = self._world.now + self._world.settings.peek_after_s
        else:
            self._peek_at.pop(lease, None)

    def bury(self, lease: LeaseId, death: Death) -> Death:
        """Everything that the worker still said comes before its death; then what it had begun and not is counted."""
        if lease not in self.lanes:
            return death
        self.read_lane(lease)
        self._peek_at.pop(lease, None)
        lane = self.lanes.pop(lease)
        return Death(death.pid, death.exitcode, 0, lane.take_back(), lane.items_begun)

    def send(self, lease: LeaseId, message: Message) -> None:
        """To a worker, or done in its place."""
        lane = self.lanes.get(lease)
        if lane is None:
            raise Violation("sent to nobody", f"lease {lease} has no worker")
        self._world.slip()
        if isinstance(message, TakeBack):
            self._hear(lease, TakenBack(lane.take_back()))
            self._peek_lane(lease)
            return
        if isinstance(message, RunCalls):
            self._peek_at.setdefault(lease, self._world.now + self._world.settings.peek_after_s)
        lane.send(message)

    def _lanes_with_news(self) -> list[LeaseId]:
        return [
            lease
            for lease, lane in self.lanes.items()
            if self._is_known(lease) and (lane.is_readable() or lane.can_flush())
        ]

    def _peek_lane(self, lease: LeaseId) -> None:
        done = self.lanes[lease].peek()
        if done is not None:
            self._hear(lease, done)
