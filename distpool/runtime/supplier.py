"""The supplier: the hand of a node that stores the code of drivers and makes environments, and keeps both.

Looking, unpacking and pip take their time, so each has a thread of its own; what became of it is an answer that the
loop's holder takes. Everything else happens on the thread that holds the loop.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import zlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from distpool.base_errors import DistpoolError
from distpool.config import Settings
from distpool.ids import GroupId
from distpool.logic.sizes import size_text
from distpool.protocol.code import (
    PIECE_BYTES,
    CodeMissing,
    CodePiece,
    CodeStored,
    DropCode,
    DropSupplies,
    GatherSupplies,
    SuppliesFailed,
    SuppliesReady,
    Surroundings,
)
from distpool.runtime.environments import environment_key, make_environment, python_of
from distpool.runtime.kept_folders import Hold, KeptFolders
from distpool.runtime.unpacking import check_hash, unpack
from distpool.transport.home import cache_folder

Answer = CodeMissing | CodeStored | SuppliesReady | SuppliesFailed

_log = logging.getLogger("distpool.node")


class Incoming(msgspec.Struct):
    """A package of which not all pieces have come. The file has no name, so it goes with its process."""

    file: IO[bytes]
    size: int
    received: int = 0


class Supplier:
    """Owned by whoever holds the node's loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = Path(cache_folder())
        self._code = KeptFolders(self._folder / "code", settings.code_cache_bytes)
        self._environments = KeptFolders(self._folder / "environments", settings.environment_cache_bytes)
        self._incoming: dict[str, Incoming] = {}
        self._sizes: dict[GroupId, tuple[str, int]] = {}
        self._holds: dict[GroupId, list[Hold]] = {}
        # What threads have to say; a group's holds come with it.
        self._answers: deque[tuple[Answer, list[Hold]]] = deque()
        self._code.remove_old()
        self._environments.remove_old()
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """Ready when there are answers."""

    def handle(self, message: Any) -> None:
        match message:
            case GatherSupplies(group, surroundings):
                self._sizes[group] = surroundings.package, surroundings.package_bytes
                self._begin(lambda: self._gathered(group, surroundings))
            case CodePiece():
                self._store(message)
            case DropSupplies(group):
                self._sizes.pop(group, None)
                for hold in self._holds.pop(group, []):
                    hold.release()
            case DropCode(package):
                incoming = self._incoming.pop(package, None)
                if incoming is not None:
                    incoming.file.close()
            case _:
                raise ValueError(f"the supplier cannot handle {type(message).__name__}")

    def has_answers(self) -> bool:
        return bool(self._answers)

    def take_answers(self) -> list[Answer]:
        answers = []
        while self._answers:
            answer, holds = self._answers.popleft()
            if isinstance(answer, SuppliesReady):
                self._holds[answer.group] = holds
            answers.append(answer)
        return answers

    def close(self) -> None:
        os.close(self.descriptor)

    # Packages -------------------------------------------------------------------------------------------------------

    def _store(self, piece: CodePiece) -> None:
        try:
            incoming = self._incoming.get(piece.package) or self._began(piece.package)
            incoming.file.write(_decompressed(piece.data, min(PIECE_BYTES, incoming.size - piece.offset)))
        except (OSError, DistpoolError) as error:  # a full disk, say
            broken = self._incoming.pop(piece.package, None)
            if broken is not None:
                broken.file.close()
            self._answer(CodeStored(piece.package, str(error)), [])
            return
        incoming.received = min(incoming.size, piece.offset + PIECE_BYTES)
        if incoming.received == incoming.size:
            del self._incoming[piece.package]
            self._begin(lambda: self._unpacked(piece.package, incoming))

    def _began(self, package: str) -> Incoming:
        size = next(size for known, size in self._sizes.values() if known == package)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        incoming = self._incoming[package] = Incoming(tempfile.TemporaryFile(dir=self._folder), size)  # noqa: SIM115
        return incoming

    def _unpacked(self, package: str, incoming: Incoming) -> tuple[Answer, list[Hold]]:
        """By a thread."""
        try:
            with incoming.file as file:
                check_hash(file, package)
                self._code.hold_or_make(package, lambda path: unpack(file, path)).release()
        except Exception as error:  # whatever it is, somebody waits for an answer
            return CodeStored(package, _reason(error)), []
        _log.info("received the code %s, %s", package[:12], size_text(incoming.size))
        return CodeStored(package), []

    # Groups ---------------------------------------------------------------------------------------------------------

    def _gathered(self, group: GroupId, surroundings: Surroundings) -> tuple[Answer, list[Hold]]:
        """By a thread."""
        holds: list[Hold] = []
        folder: Path | None = None
        python = ""
        try:
            if surroundings.package:
                if surroundings.package_bytes > self._settings.code_cache_bytes:
                    limit = size_text(self._settings.code_cache_bytes)
                    raise DistpoolError(f"the code has {size_text(surroundings.package_bytes)}, and {limit} are kept")
                hold = self._code.hold(surroundings.package)
                if hold is None:
                    return CodeMissing(group), []
                holds.append(hold)
                folder = hold.path
            if surroundings.requirements:
                environment = self._environment(surroundings, folder)
                holds.append(environment)
                python = python_of(environment.path)
        except Exception as error:  # whatever it is, somebody waits for an answer
            for hold in holds:
                hold.release()
            return SuppliesFailed(group, _reason(error)), []
        return SuppliesReady(group, "" if folder is None else str(folder), python), holds

    def _environment(self, surroundings: Surroundings, folder: Path | None) -> Hold:
        variables = {**os.environ, **dict(surroundings.environment)}

        def make(path: Path) -> None:
            _log.info("making an environment with %s", ", ".join(surroundings.requirements))
            make_environment(path, surroundings.requirements, folder, self._settings.pip_limit_s, variables)

        return self._environments.hold_or_make(environment_key(surroundings), make)

    def _begin(self, work: Callable[[], tuple[Answer, list[Hold]]]) -> None:
        threading.Thread(target=self._run, args=(work,), name="distpool-supplier", daemon=True).start()

    def _run(self, work: Callable[[], tuple[Answer, list[Hold]]]) -> None:
        self._answer(*work())

    def _answer(self, answer: Answer, holds: list[Hold]) -> None:
        """From any thread."""
        self._answers.append((answer, holds))
        os.eventfd_write(self.descriptor, 1)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (OSError, DistpoolError)) else repr(error)


def _decompressed(data: bytes, size: int) -> bytes:
    """Never more than it should be. Raises DistpoolError."""
    decompressor = zlib.decompressobj()
    try:
        found = decompressor.decompress(data, size + 1)
    except zlib.error as error:
        raise DistpoolError(f"a piece of a package is damaged: {error}") from None
    if len(found) != size or not decompressor.eof:
        raise DistpoolError(f"a piece of a package has not the {size} bytes that it should have")
    return found
