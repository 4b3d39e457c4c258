"""NAME
    none: no proxy at all

PACKET PATH
    A Service's address is nobody's: a packet to it takes the default route, and ends where that ends.

KERNEL OBJECTS
    none
"""

from __future__ import annotations

from collections.abc import Iterator

from emu.cluster.model import Cluster
from emu.errors import InputError
from emu.plan.merge import Fragment

NAME = "none"


def plan(cluster: Cluster) -> Iterator[Fragment]:
    for option in cluster.topology.proxy.options:
        raise InputError(f"unknown option {option}", subject="proxy none", hint="this mode has no options")
    yield from ()
