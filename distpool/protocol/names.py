"""Actors with names that all programs of a cluster find, and what programs say to each other about actors.

    owner ── ClaimName ──► head ◄── FindName ── guest          who has which name
    guest ── CallActor, EndActor ──► owner ── ActorTold ──► guest   by a link of their own

The owner is the program whose actor it is, and a guest another one. The head sees no call.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from distpool.protocol.messages import Message


class NamedActor(msgspec.Struct, array_like=True, frozen=True):
    """Where an actor is found. `life`, `program`: of its owner, which the head itself puts in. `endpoint`, `public`:
    where the owner listens to guests, and its public key there. `actor`: the owner's number of it. `class_name`: for
    people. `traits`: what guests need to know of the class, which the head does not read. `is_detached`: it does not
    end with the program that has started it."""

    namespace: str
    name: str
    endpoint: str
    public: str
    actor: int
    class_name: str
    traits: bytes
    is_detached: bool = False
    life: int = 0
    program: str = ""


class Place(NamedTuple):
    """Where an owner is. `life`: of its process; `program`: its name, for people."""

    life: int
    program: str
    endpoint: str
    public: str


def place_of(actor: NamedActor) -> Place:
    """Of its owner."""
    return Place(actor.life, actor.program, actor.endpoint, actor.public)


# Programs and the head ------------------------------------------------------------------------------------------------


class ClaimName(Message, tag=210, frozen=True):
    """Driver to head: an actor of mine is to have this name. The answer is `NameTold`: with this actor, or with the one
    that has the name. `number`: of the question."""

    number: int
    actor: NamedActor


class FindName(Message, tag=211, frozen=True):
    """Driver to head: which actor has this name? The answer is `NameTold`."""

    number: int
    namespace: str
    name: str


class NameTold(Message, tag=212, frozen=True):
    """Head to driver: the actor that has the name; None: none has, and there are these others in the namespace.
    `refusal`: why a name cannot be had at all."""

    number: int
    actor: NamedActor | None = None
    others: tuple[str, ...] = ()
    refusal: str = ""


class FreeName(Message, tag=213, frozen=True):
    """Driver to head: this actor of mine is dead, and its name free."""

    namespace: str
    name: str
    actor: int


# Guests and owners ----------------------------------------------------------------------------------------------------


class CallActor(Message, tag=214, frozen=True):
    """Guest to owner: call this method of your actor. `number`: of the call. `group`, `retries`, `returns`: see the
    options of methods. `arguments`: the pickle of (args, kwargs), with all that they need."""

    number: int
    actor: int
    method: str
    arguments: bytes
    group: str | None = None
    retries: int | None = None
    returns: int = -1


class ActorTold(Message, tag=215, frozen=True):
    """Owner to guest: what became of a call. `kind`, `payload`: an outcome, with a value as one pickle; of a dead actor
    an `ActorEnd` whose `at` is for how many seconds it has been so. `cause`: as of a promise."""

    number: int
    kind: int
    payload: bytes
    cause: str = ""


class CancelActorCall(Message, tag=216, frozen=True):
    """Guest to owner: the call is not wanted any more."""

    number: int


class EndActor(Message, tag=217, frozen=True):
    """Guest to owner: kill your actor; with `may_restart` its worker only."""

    actor: int
    may_restart: bool


class StartActor(Message, tag=218, frozen=True):
    """A program to its keeper: start this actor, which is to outlive me. `setup`: a pickle of what its class, its
    options and its arguments are. `number`: of the question."""

    number: int
    setup: bytes


class ActorStarted(Message, tag=219, frozen=True):
    """A keeper to its program: the actor that was started, or the one that has its name. `failure`: an encoded
    `RemoteFailure`, where there is none."""

    number: int
    actor: NamedActor | None = None
    failure: bytes = b""
