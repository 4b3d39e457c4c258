"""What a Calico mode may be told in the topology file."""

from __future__ import annotations

from collections.abc import Sequence

from emu.api.topology import Topology
from emu.api.wrong import Wrong
from emu.cluster.ipam.calico import OPTION as BLOCK_SIZE
from emu.cluster.ipam.calico import block_size
from emu.cluster.nodes import ranges
from emu.errors import InputError
from emu.planners import choices

CROSS_SUBNET = "cross_subnet"


def check(topology: Topology, known: str = "", *, others: Sequence[str] = ()) -> None:
    """`known`: the one switch of the mode, if it has one. `others` are looked at elsewhere."""
    choices.flag("cni", topology.cni.mode, topology.cni.options, known, others=(*others, BLOCK_SIZE))
    for network in ranges(topology, "pods"):
        try:
            block_size(topology, network)
        except InputError as error:
            raise Wrong(f"{error.subject}: {error.what}", "cni", "options", BLOCK_SIZE, sentence=True) from None
