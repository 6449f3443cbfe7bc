"""What a guest needs to know of the class of another program's actor, as it travels: no pickle, as it is opened by
whoever asks for a name."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from distpool.actors.methods import ClassPlan
from distpool.actors.options import ActorOptions
from distpool.base_errors import ProtocolError
from distpool.runtime.instance import Traits


class Told(NamedTuple):
    """`retries`: of a call, where its method says nothing."""

    class_plan: ClassPlan
    traits: Traits
    retries: int


def encoded(class_plan: ClassPlan, traits: Traits, options: ActorOptions) -> bytes:
    return msgspec.msgpack.encode(Told(class_plan, traits, options.max_task_retries))


def decoded(told: bytes) -> Told:
    """Raises ProtocolError."""
    try:
        return msgspec.msgpack.decode(told, type=Told)
    except msgspec.DecodeError as error:
        raise ProtocolError(f"what is said of the class of an actor cannot be read: {error}") from None
