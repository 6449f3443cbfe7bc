"""Actors, as a worker starts, finds and ends them: its program does so, and they are the program's."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from distpool.actors.methods import ClassPlan, traits_of
from distpool.actors.options import ActorOptions
from distpool.actors.sent import LifeAbove
from distpool.protocol.messages import Message
from distpool.protocol.upcalls import FindActor, ListActors, StartActor
from distpool.runtime.instance import MADE_OF, construct
from distpool.runtime.own_way_up import way_up
from distpool.runtime.promises_above import above
from distpool.tasks.program import program


def start(
    actor_class: type, class_plan: ClassPlan, options: ActorOptions, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> LifeAbove:
    """See `ActorClass.remote`. The program has it when this returns."""
    first = actor_class, tuple(traits_of(class_plan, options))
    kind, call, needed = program().pickled(construct, (*first, *args), kwargs, MADE_OF)
    plan = pickle.dumps((class_plan, options), 5)
    numbers = [promise.number for promise in needed]
    return _told(lambda number, actor: StartActor(number, actor, plan, kind, call, numbers))


def find(name: str, namespace: str) -> LifeAbove:
    """Raises ValueError where no actor that lives has this name."""
    return _told(lambda number, actor: FindActor(number, actor, name, namespace))


def myself() -> LifeAbove:
    """The actor that this worker is."""
    return find("", "")


def names() -> tuple[str, list[tuple[str, str]]]:
    """The program's own namespace, and (namespace, name) of the actors that have one."""
    listed: tuple[str, list[tuple[str, str]]] = way_up().ask_value(ListActors)
    return listed


def _told(request: Callable[[int, int], Message]) -> LifeAbove:
    """The actor for which a new promise stands when the program has answered."""
    promises = above()
    promises.relieve()  # of actors whose place it may need
    ref = promises.new("an actor", -1)
    return LifeAbove(ref, *way_up().ask_value(lambda number: request(number, ref.id)))
