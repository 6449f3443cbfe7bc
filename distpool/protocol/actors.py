"""What the callers of an actor are told when it cannot answer."""

from __future__ import annotations

import msgspec

from distpool.protocol.messages import Death


class ActorEnd(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Why an actor is dead, or lost a call. `text` says it all in words; `actor`: the name of its class; `at`: when, by
    the caller's clock that never goes back; `death`: of its worker; `failure`: the encoded exception of its
    constructor."""

    text: str
    actor: str
    at: float
    death: Death | None = None
    failure: bytes = b""
