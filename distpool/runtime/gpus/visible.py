"""What of a machine's GPUs this process may use: the variables by which whoever started it has said so."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from distpool.runtime.gpus.found import Found

VARIABLES = {
    "nvidia": ("CUDA_VISIBLE_DEVICES",),
    "amd": ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
    "intel": ("ZE_AFFINITY_MASK",),
    "pretend": ("CUDA_VISIBLE_DEVICES",),
}
"""By the kind of device; of several, each chooses among what the one before has left. The first is set for workers."""

_log = logging.getLogger("distpool")


def visible(found: list[Found], environment: Mapping[str, str]) -> list[Found]:
    """Of each kind those that its variables leave, in the order in which they name them."""
    left: list[Found] = []
    for kind, variables in VARIABLES.items():
        chosen = [gpu for gpu in found if gpu.kind == kind]
        for variable in variables:
            if chosen and variable in environment:
                chosen = _named(chosen, environment[variable], variable)
                chosen = [gpu._replace(number=at) for at, gpu in enumerate(chosen)] if len(variables) > 1 else chosen
        left += chosen
    return left


def _named(gpus: list[Found], text: str, variable: str) -> list[Found]:
    """As CUDA has it: indices, UUIDs or beginnings of these; the first that names nothing ends the list."""
    chosen: list[Found] = []
    if text.strip() in ("", "-1", "NoDevFiles"):
        return []
    for entry in (part.strip() for part in text.split(",")):
        matching = [gpu for gpu in gpus if _is_named(gpu, entry)]
        if not matching:
            if entry != "-1":
                _log.warning("%s is %r: %r is none of this machine's devices, and ends the list", variable, text, entry)
            break
        chosen += [gpu for gpu in matching if gpu not in chosen]
    return chosen


def _is_named(gpu: Found, entry: str) -> bool:
    if entry.isdecimal():
        return gpu.number == int(entry)
    # Intel names a part of a GPU by the GPU's index, a dot and the part's: it is given away as a whole.
    whole, dot, _ = entry.partition(".")
    if dot and gpu.kind == "intel":
        return whole.isdecimal() and gpu.number == int(whole)
    return bool(entry) and any(uuid.lower().startswith(entry.lower()) for uuid in gpu.uuids)
