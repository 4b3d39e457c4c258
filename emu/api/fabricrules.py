"""What a fabric must obey: switches without a ring, routers that lead from every rack to every other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address

from emu import names
from emu.addressing import IPNetwork
from emu.api import rules
from emu.api.racks import VPC, groups, rack_of
from emu.api.topology import Fabric, RouterEntry, Topology
from emu.api.wrong import Wrong

KINDS = ("switches", VPC)
FORWARDS = ("everything", "node-addresses")
MOST_ROUTERS = 9  # router r has number r in each Node network, and node 1 number 11

_IFNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")


def check(fabric: Fabric) -> None:
    path = ("fabric",)
    rules.one_of(fabric.kind, KINDS, *path, "kind")
    rules.between(fabric.mtu, 1280, 65535, *path, "mtu")
    rules.one_of(fabric.forwards, FORWARDS, *path, "forwards")
    if not fabric.switches:
        raise Wrong("is empty, must have one switch at least", *path, "switches")
    rules.unique(fabric.switches, *path, "switches")
    for index, name in enumerate(fabric.switches):
        if not _IFNAME.fullmatch(name):
            raise Wrong(f"is {name}, must be 1-15 letters, digits, -, _ and .", *path, "switches", index)
    for switch, mtu in fabric.switch_mtu.items():
        _known(switch, fabric, "switch_mtu")
        rules.between(mtu, 1280, 65535, *path, "switch_mtu", switch)
    if fabric.kind == VPC:
        _vpc(fabric)
    _tree(fabric)
    for index, router in enumerate(fabric.routers):
        _router(router, fabric, index)


def _vpc(fabric: Fabric) -> None:
    """It routes between its subnets by itself, and always by addresses."""
    for field, given in (("links", fabric.links), ("routers", fabric.routers), ("switch_mtu", fabric.switch_mtu)):
        if given:
            raise Wrong("must not be there with kind vpc, which joins its subnets itself", "fabric", field)
    if fabric.forwards != FORWARDS[0]:
        raise Wrong(
            f"is {fabric.forwards}: a VPC always forwards by addresses", "fabric", "forwards", hint="leave it out"
        )


def _tree(fabric: Fabric) -> None:
    """The switches run no spanning tree: a ring would carry a broadcast round for ever."""
    for index, link in enumerate(fabric.links):
        for end, name in enumerate(link):
            _known(name, fabric, "links", index, end)
        if any(set(link) <= set(group) for group in groups(fabric.switches, fabric.links[:index])):
            raise Wrong("closes a ring, and the switches run no spanning tree", "fabric", "links", index)


def _known(name: str, fabric: Fabric, *path: str | int) -> None:
    if name not in fabric.switches:
        raise Wrong(f"is {name}, must be one of {', '.join(fabric.switches)}", "fabric", *path)


def _router(router: RouterEntry, fabric: Fabric, index: int) -> None:
    path = ("fabric", "routers", index)
    rules.label(router.name, *path, "name")
    if router.name == names.FABRIC_NETNS or router.name in fabric.switches:
        raise Wrong(f"is {router.name}, which is a switch", *path, "name")
    if not router.links:
        raise Wrong("is empty, must name one switch at least", *path, "links")
    taken: dict[int, str] = {}
    for end, switch in enumerate(router.links):
        _known(switch, fabric, "routers", index, "links", end)
        rack = rack_of(fabric, switch)
        if rack in taken:
            raise Wrong(f"is {switch}, in the rack of {taken[rack]}: one port is enough", *path, "links", end)
        taken[rack] = switch


def check_routers(topology: Topology, networks: Sequence[IPNetwork]) -> None:
    """Beside the nodes: names of their own, addresses of these networks, a way from every rack to every other."""
    fabric = topology.fabric
    if not fabric.routers:
        return
    if len(fabric.routers) > MOST_ROUTERS:
        raise Wrong(f"has {len(fabric.routers)} routers, must have {MOST_ROUTERS} at most", "fabric", "routers")
    rules.unique((router.name for router in fabric.routers), "fabric", "routers", field=("name",))
    nodes = {node.name for node in topology.nodes}
    for index, router in enumerate(fabric.routers):
        if router.name in nodes:
            raise Wrong(f"is {router.name}, which is a node", "fabric", "routers", index, "name")
    _addresses(topology, networks)
    joined = groups(fabric.switches, (*fabric.links, *(router.links for router in fabric.routers)))
    if len(joined) > 1:
        raise Wrong(f"lead from {joined[0][0]} nowhere near {joined[1][0]}", "fabric", "routers")


def _addresses(topology: Topology, networks: Sequence[IPNetwork]) -> None:
    """Router r has number r of each Node network."""
    routers = topology.fabric.routers
    for index, network in enumerate(networks):
        if len(routers) >= network.num_addresses - 1:
            raise Wrong(f"is {network}, which has no address for {routers[-1].name}", "ranges", "nodes", index)
    kept = {network[number]: router.name for network in networks for number, router in enumerate(routers, start=1)}
    for index, node in enumerate(topology.nodes):
        for text in filter(None, node.address.split(",")):
            if holder := kept.get(ip_address(text.strip())):
                raise Wrong(f"is {text.strip()}, which is that of router {holder}", "nodes", index, "address")
