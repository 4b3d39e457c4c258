"""Ports of every Node that lead to a Service, whichever Nodes its Pods are on: an annotation of the Service, with what
`docker service create --publish` is told, `8080:80` or `53:5353/udp`, several parted by commas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from emu.api import rules
from emu.api.podrules import PROTOCOLS
from emu.api.wrong import Wrong, shown

ANNOTATION = "kube-emu.io/publish"
_PATH = ("metadata", "annotations", ANNOTATION)
_PORT = re.compile(r"(\d+):(\d+)(?:/([a-z]+))?")


class Port(NamedTuple):
    """`number`: of the Nodes; `target`: of the Pods' containers."""

    protocol: str
    number: int
    target: int

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol.lower()}"


def ports(annotations: Mapping[str, str]) -> tuple[Port, ...]:
    """In the order given. Raises Wrong."""
    if ANNOTATION not in annotations:
        return ()
    found = tuple(_port(text.strip()) for text in annotations[ANNOTATION].split(","))
    twice = next((each for each in found if sum((each[:2] == other[:2]) for other in found) > 1), None)
    if twice:
        raise Wrong(f"publishes {twice} twice", *_PATH)
    return found


def _port(text: str) -> Port:
    """Swarm draws a number where none is published; here each is said, so that every run has the same."""
    match = _PORT.fullmatch(text)
    if not match:
        raise Wrong(f"is {shown(text)}, must be PUBLISHED:TARGET or PUBLISHED:TARGET/PROTOCOL, as 8080:80", *_PATH)
    number, target, protocol = int(match[1]), int(match[2]), (match[3] or "tcp").upper()
    for each in (number, target):
        rules.port(each, *_PATH)
    if protocol not in PROTOCOLS:
        raise Wrong(f"is {text}, whose protocol must be {', '.join(map(str.lower, PROTOCOLS))}", *_PATH)
    return Port(protocol, number, target)


def check(annotations: Mapping[str, str], cluster_ip: str) -> None:
    """Raises Wrong."""
    if ports(annotations) and cluster_ip == "None":
        what = f"is {annotations[ANNOTATION]}, but clusterIP None is endpoint mode dnsrr, in which nothing is published"
        raise Wrong(what, *_PATH, hint="leave one of them out")
