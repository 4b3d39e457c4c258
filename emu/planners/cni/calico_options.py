"""What a Calico mode may be told in the topology file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emu.api.topology import Topology
from emu.api.wrong import Wrong, shown
from emu.cluster.ipam.calico import OPTION as BLOCK_SIZE
from emu.cluster.ipam.calico import block_size
from emu.cluster.nodes import ranges
from emu.errors import InputError
from emu.planners import choices

CROSS_SUBNET = "cross_subnet"
VETH_MTU = "veth_mtu"  # of the ConfigMap in calico.yaml and canal.yaml


def check(topology: Topology, known: str = "", *, others: Sequence[str] = ()) -> None:
    """`known`: the one switch of the mode, if it has one. `others` are looked at elsewhere."""
    choices.flag("cni", topology.cni.mode, topology.cni.options, known, others=(*others, BLOCK_SIZE))
    for network in ranges(topology, "pods"):
        try:
            block_size(topology, network)
        except InputError as error:
            raise Wrong(f"{error.subject}: {error.what}", "cni", "options", BLOCK_SIZE, sentence=True) from None


def check_veth_mtu(topology: Topology) -> None:
    value = topology.cni.options.get(VETH_MTU, 0)
    least, most = choices.IPV6_LEAST_MTU, 65535
    if not isinstance(value, int) or isinstance(value, bool) or (value and not least <= value <= most):
        what = f"is {shown(value)}, must be {least}-{most}, or 0: found out by Felix"
        raise Wrong(what, "cni", "options", VETH_MTU)


def veth_mtu(options: Mapping[str, object], found_out: int) -> int:
    """The MTU of Pods. `found_out`: what Felix makes of the uplink's and of the tunnels that it knows."""
    value = options.get(VETH_MTU, 0)
    assert isinstance(value, int)
    return value or found_out
