"""NAME
    none: no proxy at all

PACKET PATH
    A Service's address is nobody's: a packet to it takes the default route, and ends where that ends.

KERNEL OBJECTS
    none
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.topology import Topology
from emu.cluster.model import Cluster
from emu.plan.merge import Fragment
from emu.planners import choices

NAME = "none"


def check(topology: Topology) -> None:
    choices.flag("proxy", NAME, topology.proxy.options)


def plan(cluster: Cluster) -> Iterator[Fragment]:
    yield from ()
