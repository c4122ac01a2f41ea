"""Hosts that are not there: network namespaces, each with a cable of its own to this machine.

Needs Linux, root and `ip` (package iproute2). Where that cannot be had, `Hosts` raises `NoNamespaces`.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType


class NoNamespaces(Exception):
    """This machine gives no network namespaces."""


class Host:
    """One namespace. Its cable ends here in the interface `bide<number>`."""

    def __init__(self, number: int) -> None:
        self.name = f"bide-{os.getpid()}-{number}"
        self.cable = f"bide{os.getpid() % 100_000}-{number}"
        self.gateway = f"10.{200 + os.getpid() % 50}.{number}.1"
        self.address = f"{self.gateway[:-1]}2"

    def plug(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("addr", "add", f"{self.gateway}/30", "dev", self.cable)
        _ip("link", "set", self.cable, "up")
        _ip("-n", self.name, "addr", "add", f"{self.address}/30", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", self.name, "link", "set", device, "up")

    def command(self, *words: str) -> list[str]:
        """The command, as it is run on this host."""
        return ["ip", "netns", "exec", self.name, *words]

    def bytes(self) -> int:
        """What has gone over its cable, both ways."""
        counters = Path(f"/sys/class/net/{self.cable}/statistics")
        return sum(int((counters / name).read_text()) for name in ("rx_bytes", "tx_bytes"))


class Hosts:
    """So many hosts, for the time of a `with`."""

    def __init__(self, count: int) -> None:
        self._hosts = [Host(number) for number in range(1, count + 1)]
        self._plugged: list[Host] = []
        self._network = f"10.{200 + os.getpid() % 50}.0.0/16"

    def __enter__(self) -> list[Host]:
        try:
            # A host whose cable is out is nowhere, and not somewhere behind this machine's own gateway.
            _ip("route", "replace", "unreachable", self._network, "metric", "9999")
            for host in self._hosts:
                self._plugged.append(host)
                host.plug()
        except (subprocess.CalledProcessError, FileNotFoundError) as error:
            self.__exit__(None, None, None)
            said = getattr(error, "stderr", "") or error
            raise NoNamespaces(f"No network namespaces can be made here: {said}") from error
        return self._hosts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run(["ip", "route", "del", "unreachable", self._network], check=False, capture_output=True)
        for host in self._plugged:
            subprocess.run(["ip", "netns", "del", host.name], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
