"""`distpool doctor`: checks of what a process of a cluster needs, one after the other, with what to do about each."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from distpool.cli.output import add_head, add_json, print_facts, table

if TYPE_CHECKING:
    from distpool.cli.output import Commands
    from distpool.runtime.machine import Check


def add_to(commands: Commands) -> None:
    doctor = commands.add_parser("doctor", help="check this machine, its keys, and the way to the head")
    add_head(doctor)
    add_json(doctor)
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from distpool.cli.cluster_checks import checks_of_cluster
    from distpool.runtime.machine import Result, checks_of_machine

    checks = [*checks_of_cluster(options.head), *checks_of_machine(len(os.sched_getaffinity(0)))]
    is_well = all(check.result is not Result.FAILED for check in checks)
    facts = [
        {"check": check.name, "result": check.result.name.lower(), "found": check.found, "remedy": check.remedy}
        for check in checks
    ]
    text = table([("check", "result", "found, and what to do"), *_rows(checks)])
    print_facts({"checks": facts, "ok": is_well}, options, text)
    return 0 if is_well else 1


def _rows(checks: list[Check]) -> Iterator[tuple[str, str, str]]:
    for check in checks:
        yield check.name, check.result.value, check.found
        if check.remedy:
            yield "", "", f"→ {check.remedy}"
