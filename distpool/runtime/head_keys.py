"""What a head's folder of keys says while the head runs: who is let in, who joins with a token, and its next key."""

from __future__ import annotations

import logging
import math

from distpool.base_errors import DistpoolError
from distpool.protocol.cluster import Enrol, Enrolled, HeadKeyChanges, LetIn, Refused
from distpool.transport.keys import Allowed, Identity, KeyFolder, Part
from distpool.transport.rotation import end_rotation, rotation_overlap_s, take_up_next
from distpool.transport.tokens import redeem

_TRY_AGAIN_S = 1.0

_log = logging.getLogger("distpool.security")


class HeadKeys:
    """Owned by the thread that runs the head's turns."""

    def __init__(self, folder: KeyFolder) -> None:
        self.changes_at = math.inf
        """When the head is to have its next pair."""
        self._folder = folder
        self._next: Identity | None = None
        self._complaint = ""
        self._allow_list = folder.allow_list()
        self._let_in: list[Allowed] = []

    def news_of_members(self) -> LetIn | None:
        """Who may connect to nodes, if that has changed since it was asked last."""
        try:
            members = self._allow_list.members()
        except (DistpoolError, OSError):
            members = []  # nobody, as here; the doorman says why
        if members == self._let_in:
            return None
        self._let_in = members
        return LetIn([(member.public, member.part.value, member.name) for member in members])

    def enrol(self, token: str, message: Enrol) -> Enrolled | Refused:
        """The answer to the holder of a token, of which this is the public key."""
        try:
            member = redeem(self._folder, token, message.public)
        except ValueError as error:
            _log.warning("a token lets nobody in: %s", error)
            return Refused(str(error))
        except (DistpoolError, OSError) as error:
            _log.error("a token lets nobody in: %s", error)  # which names files, and is not for others
            return Refused("the head cannot let anybody in: look at what it has printed")
        _log.info("%s %r joins with its token, which is used up", member.part.value, member.name)
        return Enrolled(member.name, "" if self._next is None else self._next.public)

    def news_of_key(self, now: float) -> HeadKeyChanges | None:
        """What the members of the cluster are to be told, once, when somebody has begun to change the head's key."""
        if self._next is not None:
            return None
        try:
            coming = self._folder.next_head()
            if coming is None:
                return None
            if coming.public == self._folder.identity(Part.HEAD).public:
                # It was taken up, by this head or by one that was killed right after that.
                end_rotation(self._folder)
                _log.info("the head's key has changed; the old one is worth nothing any more")
                return None
            overlap_s = rotation_overlap_s(self._folder)
        except (DistpoolError, OSError, ValueError) as error:
            self._complain(f"the change of the head's key does not go on: {error}")
            return None
        self._next = coming
        self.changes_at = now + overlap_s
        _log.info("the head's key changes in %g s; members are told", overlap_s)
        return HeadKeyChanges(coming.public)

    def take_up_next(self, now: float) -> Identity | None:
        """The time has come: with what to listen from now on. None: that does not work yet."""
        try:
            identity = take_up_next(self._folder)
        except (DistpoolError, OSError) as error:
            self._complain(f"the change of the head's key does not go on: {error}")
            self.changes_at = now + _TRY_AGAIN_S
            return None
        self._next, self.changes_at = None, math.inf
        return identity

    def _complain(self, what: str) -> None:
        """Not each time that it is looked at."""
        if what != self._complaint:
            self._complaint = what
            _log.error("%s", what)
