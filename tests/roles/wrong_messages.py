"""Messages whose fields have random values of the right types: what a peer can say that has the keys and is wrong."""

import random
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import inspect

from distpool.protocol.codec import encode
from distpool.protocol.messages import (
    CallsDone,
    FunctionBlob,
    Message,
    RunCalls,
    Slice,
    TakeBack,
    TakenBack,
    WorkerReady,
)

NUMBERS = (0, 1, 2, 3, -1, 7, 4096, 70_000, 2**31, 2**32 + 1, 2**63 - 1, -(2**63), 2**64 - 1)
FLOATS = (0.0, -1.0, 0.5, 1e300, float("inf"), float("nan"))
TEXTS = ("", "first", "spawn", "forkserver", "fork", "a\0b", "=", "\x1b[2J", "0" * 64, "tcp://127.0.0.1:1", "x" * 3000)
FRAMES: tuple[bytes, ...] = (
    b"",
    b"\xc1",
    b"\0\xff\xff\xff\xff",
    *(
        b"".join(encode(message))
        for message in (
            RunCalls([Slice(1, 0, 1, False, b"x")], [FunctionBlob(1, b"", False)]),
            RunCalls([Slice(1, 0, -5, False, b"x")], []),
            RunCalls([Slice(1, 99, 2**40, True, b"x")], []),
            RunCalls([Slice(1, 0, 2**63 - 1, False, 10)], []),
            TakeBack(1),
            WorkerReady(),
            CallsDone([(0, b"")], 0.0, False),
            CallsDone([(0, b"")] * 2, 0.0, False, [3, 3]),
            CallsDone([(8, b"\xc1"), (99, b"")], float("nan"), True),
            TakenBack(2),
            TakenBack(-3),
        )
    ),
)


class WrongMessages:
    """A seeded source. `known`: numbers that mean something to the receiver, its own and those of others."""

    def __init__(self, rng: random.Random, kinds: Any, known: Sequence[int]) -> None:
        self._rng = rng
        self._kinds: tuple[type[Message], ...] = kinds.__args__
        self._known = known

    def next(self) -> Message:
        return self._value(inspect.type_info(self._rng.choice(self._kinds)))

    def _value(self, kind: Any) -> Any:
        rng = self._rng
        match kind:
            case inspect.StructType(cls=cls, fields=fields):
                return cls(**{field.name: self._value(field.type) for field in fields})
            case inspect.IntType(ge=least):
                number = rng.choice(self._known) if rng.random() < 0.7 else rng.choice(NUMBERS)
                return number if least is None else max(least, number)
            case inspect.FloatType():
                return rng.choice(FLOATS)
            case inspect.StrType():
                return rng.choice(TEXTS)
            case inspect.BytesType():
                return rng.choice(FRAMES)
            case inspect.BoolType():
                return rng.random() < 0.5
            case inspect.VarTupleType(item_type=item):
                return tuple(self._value(item) for _ in range(rng.choice([0, 0, 1, 3])))
            case inspect.DictType(key_type=key, value_type=value):
                return {self._value(key): self._value(value) for _ in range(rng.choice([0, 0, 1, 3]))}
            case inspect.NoneType():
                return None
            case inspect.ListType(item_type=item):
                return [self._value(item) for _ in range(rng.choice([0, 0, 1, 3]))]
            case inspect.TupleType(item_types=items):
                return tuple(map(self._value, items))
            case inspect.UnionType(types=kinds):
                return self._value(rng.choice(kinds))
        raise NotImplementedError(f"values of {kind}")


def frames_of(message: Message) -> list[Any]:
    """Encoded, also where no encoder of ours would."""
    return [msgspec.msgpack.encode(message)]
