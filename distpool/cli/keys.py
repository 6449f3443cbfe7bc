"""`distpool keys`: who may take part in a cluster."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from distpool.cli.output import add_head, add_json, print_facts, seconds, table
from distpool.config import SETTINGS
from distpool.settings import current
from distpool.transport.keys import MEMBERS, KeyFolder, Part
from distpool.transport.private_files import write_private

if TYPE_CHECKING:
    from distpool.cli.output import Commands, seconds


_ROTATION_LIMIT_S = 10.0
_LOOK_EVERY_S = 0.05


def add_to(commands: Commands) -> None:
    keys = commands.add_parser("keys", help="make, list and revoke keys")
    verbs = keys.add_subparsers(dest="verb", required=True, metavar="VERB")
    new = verbs.add_parser("new", help="without a name: the keys of a new cluster; with one: a key for a machine")
    new.add_argument("name", nargs="?", help="by which it can be revoked")
    new.add_argument("--part", choices=[part.value for part in MEMBERS], default="node", help="(%(default)s)")
    new.add_argument("--file", type=Path, help="where to write it (NAME.key)")
    new.set_defaults(run=_new)
    token = verbs.add_parser("token", help="let one machine or person join, once, without a key that is copied")
    token.add_argument("--part", choices=[part.value for part in MEMBERS], default="node", help="(%(default)s)")
    token.add_argument("--name", help="by which its key can be revoked (the part with the next free number)")
    token.add_argument("--valid", type=seconds, default="10min", metavar="TIME", help="30s, 10min, 2h (%(default)s)")
    token.add_argument("--file", help="where to write it; - for standard output (NAME.token)")
    token.set_defaults(run=_token)
    join = verbs.add_parser("join", help="on another machine: make a key there, which a token lets in")
    add_head(join)
    add_token(join, required=True)
    join.set_defaults(run=_join)
    listed = verbs.add_parser("list", help="who is let in")
    add_json(listed)
    listed.set_defaults(run=_list)
    revoke = verbs.add_parser("revoke", help="let the owner of a key in no more")
    revoke.add_argument("name")
    revoke.set_defaults(run=_revoke)
    rotate = verbs.add_parser("rotate", help="give the head that runs here a new key, of which it tells all members")
    rotate.add_argument(
        "--overlap",
        type=seconds,
        default=f"{SETTINGS.key_overlap_s:.0f}s",
        metavar="TIME",
        help="for how long it does so before the old key ends (%(default)s)",
    )
    rotate.set_defaults(run=_rotate)
    verbs.add_parser("show-public", help="the head's public key").set_defaults(run=_show_public)


def _new(options: argparse.Namespace) -> None:
    folder = KeyFolder.of_user()
    if options.name is None:
        if folder.has_head():
            raise ValueError(f"there are keys in {folder.path} already; with a name, one more is made")
        folder.make_missing()
        print(f"the keys of a new cluster lie in {folder.path}")
        return
    path = options.file or Path(f"{options.name}.key")
    folder.add(Part(options.part), options.name, path)
    print(f"{path} is the key of a {options.part}: move it to ~/.config/distpool/{options.part}.key on its machine")


def add_token(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    parser.add_argument(
        "--token-file", metavar="FILE", required=required, help="with a token for this machine; - for standard input"
    )


def _token(options: argparse.Namespace) -> None:
    from distpool.transport.tokens import make_token

    token, name = make_token(KeyFolder.of_user(), Part(options.part), options.name, math.ceil(options.valid))
    if options.file == "-":
        print(token.text())
        return
    path = Path(options.file or f"{name}.token")
    write_private(path, f"{token.text()}\n", replace=True)
    how = "distpool node" if options.part == "node" else "distpool keys join"
    print(
        f"{path} lets a {options.part} join as {name!r}, once, until {token.expiry()}: move it to its machine, and "
        f"there run `{how} --head ADDRESS --token-file {path.name}`"
    )


def _join(options: argparse.Namespace) -> None:
    from distpool.runtime.contact import find_head
    from distpool.runtime.enrolling import enrol, read_token

    folder = KeyFolder.of_user()
    identity = enrol(find_head(options.head, folder), read_token(options.token_file), folder, current().constants)
    print(f"this machine is let in as a {identity.part.value}: its key is {folder.path_of(identity.part)}")


def _list(options: argparse.Namespace) -> None:
    entries = KeyFolder.of_user().allow_list().entries()
    facts = [
        {"name": entry.name, "part": entry.part.value, "public": entry.public, "token_until": entry.until}
        for entry in entries
    ]
    rows = [
        (entry.name, entry.part.value, entry.public if entry.until is None else "a token that was not used yet")
        for entry in entries
    ]
    print_facts({"keys": facts}, options, table([("name", "part", "public key"), *rows]))


def _revoke(options: argparse.Namespace) -> None:
    revoked = KeyFolder.of_user().revoke(options.name)
    print(f"the key {revoked.name!r} of a {revoked.part.value} is not let in any more")


def _rotate(options: argparse.Namespace) -> None:
    from distpool.runtime.contact import runs_here
    from distpool.transport.rotation import begin_rotation, is_rotating

    folder = KeyFolder.of_user()
    if not runs_here(folder):
        raise ValueError(f"no head of {folder.path} runs here, to tell its members of a new key: start it first")
    overlap_s = math.ceil(options.overlap)
    coming = begin_rotation(folder, overlap_s)
    print(f"the members are told for {overlap_s} s what the head's key will be", flush=True)
    until = time.monotonic() + overlap_s + _ROTATION_LIMIT_S
    while is_rotating(folder):
        if time.monotonic() > until:
            raise ValueError(f"the head has not taken up its new key {coming.public} yet: look at what it has printed")
        time.sleep(_LOOK_EVERY_S)
    print(f"the head has the key {coming.public} from now on; who was away meanwhile joins again with a token")


def _show_public(options: argparse.Namespace) -> None:
    print(KeyFolder.of_user().identity(Part.HEAD).public)
