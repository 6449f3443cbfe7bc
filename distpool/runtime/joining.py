"""The way into a cluster: a head is reached within a limit, or one line says what was tried and what to look at."""

from __future__ import annotations

import ipaddress
import select
import socket
import threading
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
_PROBE_SHARE = 0.25
"""Of the time for an answer, at most: it ends with a look at the port."""
_CHECK_NAME = "check how it is spelled, and whether this machine's name service knows it"
_NO_HEAD = (
    "something listens at that port, but it does not speak as a head: is it another program, or is the head stuck?"
)

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
    began_at = time.monotonic()
    resolve(address, settings.connect_limit_s)
    head = RemoteHead(address, name, settings, time.monotonic(), identity, opening)
    try:
        return head, _await(head, kind, began_at + settings.connect_limit_s, settings)
    except BaseException:
        head.close()
        raise


def resolve(address: str, limit_s: float) -> str:
    """The machine that an address names, as a number. Raises HeadUnreachable, also when nobody answers in time."""
    host = urlsplit(address).hostname or ""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    found: list[str | OSError] = []

    def look_up() -> None:
        try:
            found.append(str(socket.getaddrinfo(host, None)[0][4][0]))
        except OSError as error:
            found.append(error)

    # A thread, as the system's resolver has time limits of its own, and cannot be interrupted.
    thread = threading.Thread(target=look_up, name="distpool-resolver", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not found:
        raise _unreachable("name", f"{address}: the name {host!r} was not resolved within {limit_s:g} s: {_CHECK_NAME}")
    if isinstance(found[0], OSError):
        reason = found[0].strerror
        raise _unreachable("name", f"{address}: the name {host!r} cannot be resolved ({reason}): {_CHECK_NAME}")
    return found[0]


def own_host(address: str) -> str:
    """By what address the machine of the head, and so its other machines too, reach this one."""
    parts = urlsplit(address)
    family, kind, protocol, _, where = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(where)  # sends nothing
        host = str(probe.getsockname()[0])
    return f"[{host}]" if ":" in host else host


def probe(address: str, limit_s: float) -> str:
    """What a plain connection says that is not made; empty when it is."""
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname, parts.port), limit_s).close()
    except ConnectionRefusedError:
        return f"nothing listens at port {parts.port} there: is `distpool head` running, and is this its port?"
    except TimeoutError:
        return "no answer at all: is the machine up, and does a firewall let this port through?"
    except OSError as error:
        return f"connecting failed: {error.strerror}"
    return ""


def ask(head: RemoteHead, question: Message, kind: type[Answer], settings: Settings) -> Answer:
    """The head's answer of this kind. Raises HeadUnreachable when there is none within the limit."""
    head.handle(CLIENT, question, time.monotonic())
    answer = _await(head, kind, time.monotonic() + settings.connect_limit_s, settings)
    messages = head.outbox.messages
    messages.remove(next(said for said in messages if said[1] is answer))  # so that the next one is another
    return answer


def _await(head: RemoteHead, kind: type[Answer], until: float, settings: Settings) -> Answer:
    """The first message of this kind that the head says. Others stay in its outbox."""
    poll = select.poll()
    head.attach(lambda descriptor: poll.register(descriptor, select.POLLIN))
    address = head.connection.endpoint
    probe_s = min(_PROBE_LIMIT_S, settings.connect_limit_s * _PROBE_SHARE)
    until -= probe_s
    while True:
        now = time.monotonic()
        head.receive(now)
        wake_at = head.flush(now)
        for _, message in head.outbox.messages:
            if isinstance(message, kind):
                return message
            if isinstance(message, Refused):
                text = f"the head at {address} refused to let {head.name} join: {shown_lines(message.text)}"
                raise _unreachable("welcome", text)
        if head.connection.refusal:
            raise _refused(address, head.connection.refusal)
        if now >= until:
            closed = probe(address, probe_s)
            text = f"{address}: no head answered within {settings.connect_limit_s:g} s; {closed or _NO_HEAD}"
            raise _unreachable("port" if closed else "answer", text)
        if not head.has_some():
            due = until if wake_at is None else min(wake_at, until)
            poll.poll(max(0.0, due - now) * 1000 + 1)


def _refused(address: str, refusal: str) -> HeadUnreachable:
    remedy = "compare the keys with `distpool keys`"
    if refusal == OTHER_KEY:
        remedy += "; if the head's was changed while this machine was away, join again with a token"
    error = _unreachable("keys", f"{address}: {refusal}; {remedy}")
    error.refusal = refusal
    return error


def _unreachable(step: str, text: str) -> HeadUnreachable:
    error = HeadUnreachable(text)
    error.step = step
    return error
