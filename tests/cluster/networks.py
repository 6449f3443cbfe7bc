"""Hosts on this machine, as network namespaces: each has an address of its own and a cable that can be cut."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest


def run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, text=True)


class Host:
    """One host. Its commands are run by `prefix`."""

    def __init__(self, label: str, number: int) -> None:
        self.name = f"{label}h{number}"
        self.cable = f"{label}c{number}"
        self.address = f"10.{os.getpid() % 200 + 20}.7.{number}"
        self.prefix = ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        run("ip", "link", "set", self.cable, "down")

    def mend(self) -> None:
        run("ip", "link", "set", self.cable, "up")

    def begin_to_filter(self, chain: str, *verdict: str) -> None:
        """From now on what comes in ("INPUT") or goes out ("OUTPUT") by TCP meets this. Skips the test without the
        command or the right."""
        if shutil.which("iptables") is None:
            pytest.skip("there is no `iptables` command (Debian's package of that name), so no packet can be dropped")
        try:
            run(*self.prefix, "iptables", "-A", chain, "-p", "tcp", "-j", *verdict)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this user may filter no packets: {error.stderr.strip()}")

    def end_to_filter(self) -> None:
        run(*self.prefix, "iptables", "-F")


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """So many hosts on one switch. Skips the test where that is not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` command (Debian's iproute2), so there can be no hosts of their own")
    label = f"dp{os.getpid() % 100_000}"
    switch = f"{label}s"
    made = [Host(label, number) for number in range(1, count + 1)]
    try:
        run("ip", "link", "add", switch, "type", "bridge")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this user may make no network: {error.stderr.strip()}")
    try:
        run("ip", "link", "set", switch, "up")
        for host in made:
            run("ip", "netns", "add", host.name)
            run("ip", "link", "add", host.cable, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            run("ip", "link", "set", host.cable, "master", switch, "up")
            run("ip", "-n", host.name, "addr", "add", f"{host.address}/24", "dev", "eth0")
            run("ip", "-n", host.name, "link", "set", "eth0", "up")
            run("ip", "-n", host.name, "link", "set", "lo", "up")
        yield made
    finally:
        for host in made:
            # Each by itself: the kernel clears a namespace away some time after it was deleted.
            subprocess.run(["ip", "link", "del", host.cable], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", host.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", switch], check=False, capture_output=True)
