"""A veth pair as the Links of its two ends, each the other's peer."""

from __future__ import annotations

from typing import NamedTuple

from emu import names
from emu.cluster.model import Pod
from emu.plan.model import Link, Role


class End(NamedTuple):
    netns: str
    dev: str
    role: Role
    owner: str
    mac: str
    master: str = ""  # the bridge that this end is a port of
    hairpin: bool = False


def in_pod(pod: Pod, mac: str, dev: str = names.POD_ETH) -> End:
    return End(names.pod_netns(pod.namespace, pod.name), dev, Role.POD_ETH, pod.key, mac)


def on_node(pod: Pod, dev: str, mac: str, master: str = "", hairpin: bool = False) -> End:
    return End(pod.node, dev, Role.HOST_VETH, pod.key, mac, master, hairpin)


def pair(one: End, other: End, mtu: int) -> tuple[Link, Link]:
    return _link(one, other, mtu), _link(other, one, mtu)


def _link(end: End, other: End, mtu: int) -> Link:
    return Link(
        name=end.dev,
        kind="veth",
        role=end.role,
        owner=end.owner,
        mtu=mtu,
        mac=end.mac,
        master=end.master,
        hairpin=end.hairpin,
        peer=(other.netns, other.dev),
    )
