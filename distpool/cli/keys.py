"""`distpool keys`: who may take part in a cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from distpool.cli.output import add_json, print_facts, table
from distpool.transport.keys import MEMBERS, KeyFolder, Part

if TYPE_CHECKING:
    from distpool.cli.output import Commands


def add_to(commands: Commands) -> None:
    keys = commands.add_parser("keys", help="make, list and revoke keys")
    verbs = keys.add_subparsers(dest="verb", required=True, metavar="VERB")
    new = verbs.add_parser("new", help="without a name: the keys of a new cluster; with one: a key for a machine")
    new.add_argument("name", nargs="?", help="by which it can be revoked")
    new.add_argument("--part", choices=[part.value for part in MEMBERS], default="node", help="(%(default)s)")
    new.add_argument("--file", type=Path, help="where to write it (NAME.key)")
    new.set_defaults(run=_new)
    listed = verbs.add_parser("list", help="who is let in")
    add_json(listed)
    listed.set_defaults(run=_list)
    revoke = verbs.add_parser("revoke", help="let the owner of a key in no more")
    revoke.add_argument("name")
    revoke.set_defaults(run=_revoke)
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


def _list(options: argparse.Namespace) -> None:
    members = KeyFolder.of_user().allow_list().members()
    facts = [{"name": member.name, "part": member.part.value, "public": member.public} for member in members]
    rows = [(fact["name"], fact["part"], fact["public"]) for fact in facts]
    print_facts({"keys": facts}, options, table([("name", "part", "public key"), *rows]))


def _revoke(options: argparse.Namespace) -> None:
    revoked = KeyFolder.of_user().revoke(options.name)
    print(f"the key {revoked.name!r} of a {revoked.part.value} is not let in any more")


def _show_public(options: argparse.Namespace) -> None:
    print(KeyFolder.of_user().identity(Part.HEAD).public)
