"""Why a lease has to wait, and why it can never be had: in words, and as a table beside the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from distpool.ids import NodeId
from distpool.logic.placement import Placement
from distpool.logic.resources import Room, amount_text, counted, shape_text
from distpool.logic.sizes import size_text
from distpool.protocol.placing import BundleStrategy
from distpool.protocol.resources import UNIT, Offer, Shape

_NODES_SHOWN = 20


def why_it_waits(placement: Placement, shape: Shape, held_for: NodeId | None = None) -> str:
    """`held_for`: the node whose room is held free for it."""
    text = _why(placement, shape)
    return text if held_for is None else f"{text}; what becomes free on {held_for} is held for it"


def _why(placement: Placement, shape: Shape) -> str:
    rooms = list(placement.open_rooms())
    if not rooms:
        return "all nodes are being drained" if placement.rooms else "no node has joined; `distpool node` starts one"
    meant = [room for room in rooms if room.is_meant(shape)]
    if not meant:
        state = "draining" if shape.node in placement.rooms else "not there"
        if shape.node and not shape.is_soft and shape.node not in {room.name for room in rooms}:
            return f"needs node {shape.node}, which is {state}"
        return f"needs a node with {', '.join(f'{key}={value}' for key, value in shape.labels)}; none that is there has"
    for needed, in_words, free in _quantities(shape):
        best = max(meant, key=lambda room: (free(room), room.could_ever(shape), room.name))
        if free(best) < needed:
            if len(meant) == len(rooms) and needed == shape.cpus <= UNIT and free(best) <= 0:
                cpus = placement.cpus()
                return f"the cluster's {cpus} CPUs are in use" if cpus > 1 else "the cluster's only CPU is in use"
            return f"needs {in_words(needed)} on one node; largest free: {in_words(max(0, free(best)))} on {best.name}"
    return f"needs {shape_text(shape)} on one node; no node has all of it free at once"


_Quantity = tuple[int, Callable[[int], str], Callable[[Room], int]]


def _quantities(shape: Shape) -> list[_Quantity]:
    """What it needs of that which runs out, how that is said, and how much of it a node has free."""
    quantities: list[_Quantity] = []
    if shape.gpus:
        quantities.append((shape.gpus, lambda n: counted(n, "GPU"), lambda room: room.devices.free_amount()))
    for name, amount in shape.custom:
        quantities.append((amount, _saying(name), _free_custom(name)))
    if shape.memory_bytes:
        quantities.append((shape.memory_bytes, _memory_text, lambda room: room.free_memory_bytes))
    if shape.cpus:
        quantities.append((shape.cpus, lambda n: counted(n, "CPU"), lambda room: room.free_cpus))
    return quantities


def _saying(name: str) -> Callable[[int], str]:
    return lambda amount: f"{amount_text(amount)} {name}"


def _free_custom(name: str) -> Callable[[Room], int]:
    return lambda room: room.free_custom.get(name, 0)


def _memory_text(size: int) -> str:
    return f"{size_text(size)} of memory"


def never_text(shape: Shape, offers: Sequence[tuple[str, Offer]]) -> str:
    """No node that is known has it at all. `offers`: of the nodes, by name."""
    columns = _columns(shape)
    rows = [("", *(heading for heading, _, _ in columns)), ("needed", *(needed for _, needed, _ in columns))]
    rows += [(f"node {name}", *(tell(name, offer) for _, _, tell in columns)) for name, offer in offers[:_NODES_SHOWN]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if len(offers) > _NODES_SHOWN:
        lines.append(f"and {len(offers) - _NODES_SHOWN} more nodes")
    needs = shape_text(shape)
    return f"no node can ever have what one worker needs, {needs}: ask for less, or add such a node\n" + "\n".join(
        lines
    )


_Column = tuple[str, str, Callable[[str, Offer], str]]


def _columns(shape: Shape) -> list[_Column]:
    """(heading, what is needed, what a node has)."""
    columns: list[_Column] = [
        ("CPUs", amount_text(shape.cpus), lambda _, offer: str(max(1, offer.cpus))),
        ("GPUs", amount_text(shape.gpus), lambda _, offer: str(len(offer.devices))),
    ]
    if shape.gpu_memory_bytes:
        needed = size_text(shape.gpu_memory_bytes)
        columns.append(("memory per GPU", needed, lambda _, offer: _largest(offer)))
    if shape.memory_bytes:
        columns.append(("memory", size_text(shape.memory_bytes), lambda _, offer: size_text(offer.memory_bytes)))
    for name, amount in shape.custom:
        columns.append((name, amount_text(amount), _custom_of(name)))
    for key, value in shape.labels:
        columns.append((f"label {key}", value, _label_of(key)))
    if shape.node and not shape.is_soft:
        columns.append(("name", shape.node, lambda name, _: name))
    return columns


def _largest(offer: Offer) -> str:
    return size_text(max((device.memory_bytes for device in offer.devices), default=0))


def _custom_of(name: str) -> Callable[[str, Offer], str]:
    return lambda _, offer: amount_text(dict(offer.custom).get(name, 0))


def _label_of(key: str) -> Callable[[str, Offer], str]:
    return lambda _, offer: dict(offer.labels).get(key, "-")


def why_places_wait(placement: Placement, shapes: Sequence[Shape], strategy: int) -> str:
    """Those bundles have no place yet, or not any more."""
    for shape in shapes:
        if not any(room.seems_to_fit(shape) for room in placement.open_rooms()):
            return f"a bundle {_why(placement, shape)}"
    return f"the {len(shapes)} bundles that are missing do not fit together now as {BundleStrategy(strategy).name} asks"


def never_places_text(shapes: Sequence[Shape], strategy: int, offers: Sequence[tuple[str, Offer]]) -> str:
    """The nodes that are known can never have these bundles together."""
    together = Shape(
        max(shape.cpus for shape in shapes),
        max(shape.gpus for shape in shapes),
        max(shape.memory_bytes for shape in shapes),
        custom=tuple(sorted({name: amount for shape in shapes for name, amount in shape.custom}.items())),
    )
    bundles = "; ".join(map(shape_text, shapes))
    heading = f"the nodes can never have these bundles together, {BundleStrategy(strategy).name}: {bundles}"
    table = never_text(together, offers).split("\n")[1:]
    return "\n".join([heading, *table])
