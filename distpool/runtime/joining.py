"""The way into a cluster: a head is reached within a limit, or one line says what was tried and what to look at."""

from __future__ import annotations

import select
import socket
import time
from typing import TypeVar
from urllib.parse import urlsplit

from distpool.base_errors import HeadUnreachable
from distpool.config import Settings
from distpool.ids import CLIENT
from distpool.logic.shown import shown_lines
from distpool.protocol.cluster import Refused, Welcome
from distpool.protocol.messages import Message
from distpool.runtime.hosting import RemoteHead
from distpool.transport.keys import Identity
from distpool.transport.sockets import OTHER_KEY

_PROBE_LIMIT_S = 1.0

Answer = TypeVar("Answer", bound=Message)


def join(address: str, name: str, identity: Identity, settings: Settings) -> RemoteHead:
    """A head that has welcomed this process; what else it has said stays in its outbox. Raises HeadUnreachable."""
    return reach(address, name, identity, Welcome, settings)[0]


def reach(
    address: str,
    name: str,
    identity: Identity,
    kind: type[Answer],
    settings: Settings,
    opening: Message | None = None,
) -> tuple[RemoteHead, Answer]:
    """A head, and the answer of this kind to what is said to it first (None: a greeting). Raises HeadUnreachable."""
    host = urlsplit(address).hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise HeadUnreachable(f"{address}: the name {host!r} cannot be resolved ({error.strerror})") from None
    began_at = time.monotonic()
    head = RemoteHead(address, name, settings, began_at, identity, opening)
    try:
        return head, _await(head, kind, began_at + settings.connect_limit_s, settings)
    except BaseException:
        head.close()
        raise


def ask(head: RemoteHead, question: Message, kind: type[Answer], settings: Settings) -> Answer:
    """The head's answer of this kind. Raises HeadUnreachable when there is none within the limit."""
    head.handle(CLIENT, question, time.monotonic())
    return _await(head, kind, time.monotonic() + settings.connect_limit_s, settings)


def _await(head: RemoteHead, kind: type[Answer], until: float, settings: Settings) -> Answer:
    """The first message of this kind that the head says. Others stay in its outbox."""
    poll = select.poll()
    head.attach(lambda descriptor: poll.register(descriptor, select.POLLIN))
    address = head.connection.endpoint
    while True:
        now = time.monotonic()
        head.receive(now)
        wake_at = head.flush(now)
        for _, message in head.outbox.messages:
            if isinstance(message, kind):
                return message
            if isinstance(message, Refused):
                text = shown_lines(message.text)
                raise HeadUnreachable(f"the head at {address} refused to let {head.name} join: {text}")
        if head.connection.refusal:
            raise _refused(address, head.connection.refusal)
        if now >= until:
            raise HeadUnreachable(
                f"{address}: no head answered within {settings.connect_limit_s:g} s; {_probe(address)}"
            )
        if not head.has_some():
            due = until if wake_at is None else min(wake_at, until)
            poll.poll(max(0.0, due - now) * 1000 + 1)


def _refused(address: str, refusal: str) -> HeadUnreachable:
    remedy = "compare the keys with `distpool keys`"
    if refusal == OTHER_KEY:
        remedy += "; if the head's was changed while this machine was away, join again with a token"
    error = HeadUnreachable(f"{address}: {refusal}; {remedy}")
    error.refusal = refusal
    return error


def _probe(address: str) -> str:
    """What a plain connection says about a head that does not answer."""
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname, parts.port), _PROBE_LIMIT_S).close()
    except ConnectionRefusedError:
        return f"nothing listens at port {parts.port} there: is `distpool head` running, and is this its port?"
    except TimeoutError:
        return "no answer at all: is the machine up, and does a firewall let this port through?"
    except OSError as error:
        return f"connecting failed: {error.strerror}"
    return (
        "something listens at that port, but it does not speak as a head: is it another program, or is the head stuck?"
    )
