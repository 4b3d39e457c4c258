"""What the topology file of a measured cluster says of its network: the CNI mode, and what many Nodes and Pods want of
ranges, fabric and options that a small cluster does not."""

from __future__ import annotations

import json
from itertools import pairwise

from emu.planners.cni import MODES, plugins

NATIVE = "cilium-native"
#: All that can be measured.
NAMES = (*(mode.NAME for mode in MODES), NATIVE)
MESH = 50  # Nodes: above it, BGP modes want route reflectors
BGP = ("calico-bgp", "calico-ipip")  # whose daemons speak it
_BRIDGE_PORTS = 1023  # Linux net/bridge/br_private.h, BR_MAX_PORTS, and none is number 0

CONFLIST = {
    "cniVersion": "1.0.0",
    "name": "bench",
    "disableCheck": True,
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isDefaultGateway": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.PodCIDR}}"}]]},
        }
    ],
}


def text(name: str, nodes: int, pods: int) -> str:
    """All of a topology file but the cluster's name, as YAML; `pods` on each Node."""
    if name == "vm":
        return _segment(nodes, pods)
    return f"nodes: {nodes}\n{_cni(name, nodes)}"


def _cni(name: str, nodes: int) -> str:
    if name == NATIVE:
        return "cni: {mode: cilium, options: {routing: native}}\n"
    if name == plugins.NAME:
        return f"cni: {{conflist: {json.dumps(CONFLIST)}}}\n"
    if name == "docker-swarm":
        return f"cni: {name}\nranges: {{pods: 10.0.0.0/18}}\n"  # docker network create --subnet; a /24 by default
    if name in BGP and nodes > MESH:
        return f"cni: {{mode: {name}, options: {{route_reflectors: [node1, node2]}}}}\n"
    return f"cni: {name}\n"


def _segment(nodes: int, pods: int) -> str:
    """Every machine is a host of the Node network and a port of a switch, of which a bridge has so many."""
    count = 1 + nodes * (pods + 1) // (_BRIDGE_PORTS - 10)
    switches = [f"switch{number}" for number in range(1, count + 1)]
    cables = [[one, other] for one, other in pairwise(switches)]
    entries = [{"name": f"node{n}", "switch": switches[n % count]} for n in range(1, nodes + 1)]
    told = {
        "nodes": entries,
        "cni": "vm",
        "fabric": {"switches": switches, "links": cables},
        "ranges": {"nodes": "192.168.96.0/20"},
    }
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in told.items())
