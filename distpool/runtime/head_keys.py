"""What a head's folder of keys says while the head runs: who is let in, and who joins with a token."""

from __future__ import annotations

import logging

from distpool.base_errors import DistpoolError
from distpool.protocol.cluster import Enrol, Enrolled, LetIn, Refused
from distpool.transport.keys import Allowed, KeyFolder
from distpool.transport.tokens import redeem

_log = logging.getLogger("distpool.security")


class HeadKeys:
    """Owned by the thread that runs the head's turns."""

    def __init__(self, folder: KeyFolder) -> None:
        self._folder = folder
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
        except (DistpoolError, OSError, ValueError) as error:
            _log.warning("a token lets nobody in: %s", error)
            return Refused(str(error))
        _log.info("%s %r joins with its token, which is used up", member.part.value, member.name)
        return Enrolled(member.name)
