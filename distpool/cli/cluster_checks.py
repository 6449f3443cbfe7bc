"""What `distpool doctor` checks of a cluster: settings, keys, and the way to the head, step by step."""

from __future__ import annotations

import os
import platform
import stat
import time
from collections.abc import Callable
from pathlib import Path

import zmq

from distpool.base_errors import DistpoolError, HeadUnreachable, InvalidSetting, UnusableKey
from distpool.protocol.cluster import AskStatus
from distpool.protocol.standing import StatusTold
from distpool.runtime.contact import find_head
from distpool.runtime.hosting import own_versions
from distpool.runtime.joining import ask, join, probe, resolve
from distpool.runtime.machine import Check, Result
from distpool.settings import Chosen, current
from distpool.transport.home import home_folder
from distpool.transport.keys import MEMBERS, Identity, KeyFolder, Part

_REMEDIES = {
    "name": "check the name in the address, and this machine's name service",
    "port": "start `distpool head` there, or correct the port, or open it in the firewall",
    "keys": "copy the key that `distpool keys new` makes on the head's machine again; see `distpool keys list` there",
    "answer": "see whether another program has this port, or the head's log: `distpool logs head` on its machine",
    "welcome": "install the same distpool and Python on all machines of the cluster",
}


def check_versions() -> Check:
    """Of this process; the protocol and Python's minor version must be the head's."""
    versions = own_versions()
    found = f"Python {platform.python_version()}, distpool {versions.distpool}, protocol {versions.protocol}"
    if not zmq.has("curve"):
        remedy = "install pyzmq from its wheels, which have CURVE"
        return Check("versions", Result.FAILED, f"{found}; this ZeroMQ cannot encrypt", remedy)
    return Check("versions", Result.OK, found)


def checks_of_cluster(given: str | None) -> list[Check]:
    """Versions, settings, keys and the way to the head; what needs something that failed is skipped. `given`: the
    address of the head, by argument."""
    return [check_versions(), *_checks_from_settings_on(given)]


def _checks_from_settings_on(given: str | None) -> list[Check]:
    try:
        chosen = current()
    except InvalidSetting as error:
        return [Check("settings", Result.FAILED, str(error), "correct it, or take it away")]
    said = ", ".join(chosen.sources.values())
    checks = [Check("settings", Result.OK, said or "none: all as by default")]
    is_used = bool(given or chosen.address)
    checks.append(check_folder(Path(home_folder()), is_needed=is_used))
    if checks[-1].result is not Result.OK:
        return checks
    folder = KeyFolder.of_user()
    identities = [_identity(folder, part) for part in MEMBERS]
    checks += [check for check, _ in identities]
    try:
        address = find_head(given, folder)
    except DistpoolError as error:
        result = Result.FAILED if is_used else Result.SKIPPED
        remedy = "give it one of these forms" if is_used else ""
        return [*checks, Check("address", result, str(error), remedy)]
    checks.append(Check("address", Result.OK, address))
    known = [identity for _, identity in identities if identity is not None]
    return [*checks, *_checks_of_way(address, known, chosen)]


def check_folder(path: Path, *, is_needed: bool) -> Check:
    """It is not made here, and need not be there where no cluster is used."""
    name = "key folder"
    try:
        about = path.lstat()
    except OSError as error:
        remedy = "`distpool head` makes it here; on another machine: make it with mode 0700, and copy a key there"
        is_amiss = is_needed or not isinstance(error, FileNotFoundError)
        result = Result.FAILED if is_amiss else Result.SKIPPED
        return Check(name, result, f"{path}: {error.strerror}", remedy)
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        found = f"{path} is no folder of user {os.getuid()}"
        return Check(name, Result.FAILED, found, "name another one by DISTPOOL_HOME, or take this one away")
    if about.st_mode & 0o077:
        found = f"{path} has mode {stat.S_IMODE(about.st_mode):04o}"
        return Check(name, Result.FAILED, found, f"chmod 0700 {path}")
    return Check(name, Result.OK, str(path))


def _identity(folder: KeyFolder, part: Part) -> tuple[Check, Identity | None]:
    """The key of one part. A machine need not have both."""
    name = f"key of a {part.value}"
    path = folder.path_of(part)
    if not os.path.lexists(path):
        return Check(name, Result.SKIPPED, f"there is no {path}", f"needed to be a {part.value}: `distpool keys`"), None
    try:
        return Check(name, Result.OK, str(path)), folder.identity(part)
    except UnusableKey as error:
        return Check(name, Result.FAILED, str(error), "copy the right key there, with mode 0600"), None
    except DistpoolError as error:
        return Check(name, Result.FAILED, str(error), f"chmod 0600 {path}"), None


def _checks_of_way(address: str, identities: list[Identity], chosen: Chosen) -> list[Check]:
    """Step by step, until one fails."""
    limit_s = chosen.constants.connect_limit_s
    checks = []
    steps: list[tuple[str, Callable[[], Check]]] = [
        ("name", lambda: _check_name(address, limit_s)),
        ("port", lambda: _check_port(address, limit_s)),
    ]
    for name, make in steps:
        check = make()
        checks.append(check)
        if check.result is Result.FAILED:
            return [*checks, Check("head", Result.SKIPPED, f"not asked, as its {name} is not right")]
    if not identities:
        remedy = "`distpool keys new NAME` on the head's machine makes a key: copy it to this machine's key folder"
        return [*checks, Check("head", Result.FAILED, "not asked, as there is no key", remedy)]
    return [*checks, *(_check_head(address, identity, chosen) for identity in identities)]


def _check_name(address: str, limit_s: float) -> Check:
    try:
        return Check("name", Result.OK, f"is that of {resolve(address, limit_s)}")
    except HeadUnreachable as error:
        return Check("name", Result.FAILED, str(error), _REMEDIES["name"])


def _check_port(address: str, limit_s: float) -> Check:
    closed = probe(address, limit_s)
    if closed:
        return Check("port", Result.FAILED, f"{address}: {closed}", _REMEDIES["port"])
    return Check("port", Result.OK, "is open")


def _check_head(address: str, identity: Identity, chosen: Chosen) -> Check:
    """Whether it lets the holder of this key in; who may ask it asks it what it has."""
    name = f"head, for a {identity.part.value}"
    try:
        head = join(address, "doctor", identity, chosen.constants)
    except HeadUnreachable as error:
        return Check(name, Result.FAILED, " ".join(str(error).split()), _REMEDIES.get(error.step, ""))
    try:
        if identity.part is not Part.DRIVER:
            return Check(name, Result.OK, "lets this key in")
        began_at = time.monotonic()
        status = ask(head, AskStatus(), StatusTold, chosen.constants)
        answer_ms = (time.monotonic() - began_at) * 1000
        cpus = sum(node.cpus for node in status.nodes)
        found = f"lets this key in, answers in {answer_ms:.1f} ms, has {len(status.nodes)} nodes with {cpus} CPUs"
        return Check(name, Result.OK, found)
    except HeadUnreachable as error:
        return Check(name, Result.FAILED, str(error), _REMEDIES.get(error.step, ""))
    finally:
        head.leave()
