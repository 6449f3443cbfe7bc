"""The lanes and templates that the loop waits for, by their descriptors."""

from __future__ import annotations

import select

from distpool.ids import LeaseId
from distpool.runtime.crews import TemplateHandle
from distpool.transport.lanes import Lane

_READ = select.EPOLLIN
_READ_WRITE = select.EPOLLIN | select.EPOLLOUT


class Watched:
    """Owned by whoever holds the loop."""

    def __init__(self, epoll: select.epoll) -> None:
        self.templates: dict[int, TemplateHandle] = {}
        self.lanes: dict[int, LeaseId] = {}
        self._epoll = epoll

    def add_template(self, template: TemplateHandle) -> None:
        """Once is enough."""
        descriptor = template.control.fileno()
        if descriptor not in self.templates:
            self.templates[descriptor] = template
            self._epoll.register(descriptor, _READ)

    def add_lane(self, lane: Lane, lease: LeaseId) -> None:
        self.lanes[lane.sock.fileno()] = lease
        self._epoll.register(lane.sock, _READ)

    def flush(self, lane: Lane) -> None:
        """The lane takes more: send what it could not take before."""
        if lane.flush():
            self._epoll.modify(lane.sock, _READ)

    def await_room(self, lane: Lane) -> None:
        """If the lane is full, wait until it takes more."""
        if lane.has_unsent() and lane.sock.fileno() in self.lanes:
            self._epoll.modify(lane.sock, _READ_WRITE)

    def forget_lane(self, lane: Lane) -> None:
        """It is at its end, or about to be closed."""
        if lane.sock.fileno() in self.lanes:
            self.forget(lane.sock.fileno())

    def forget(self, descriptor: int) -> None:
        """It is about to be closed."""
        self._epoll.unregister(descriptor)
        if self.templates.pop(descriptor, None) is None:
            del self.lanes[descriptor]
