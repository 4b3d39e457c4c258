"""What flanneld and its install-cni container leave on a Node: the lease and what Pods' links are to take, from which
the flannel plugin makes the configuration it delegates to bridge, and the CNI configuration of kube-flannel.yml.

Source: flannel-io/flannel pkg/subnet/subnet.go (WriteSubnetFile), Documentation/kube-flannel.yml."""

from __future__ import annotations

from collections.abc import Iterator

from emu.addressing import IPNetwork
from emu.cluster.model import Cluster, Node
from emu.plan.model import NetnsPlan
from emu.planners.cni import node_files

SUBNET = "/run/flannel/subnet.env"
CONFLIST = """{
  "name": "cbr0",
  "cniVersion": "0.3.1",
  "plugins": [
    {
      "type": "flannel",
      "delegate": {
        "hairpinMode": true,
        "isDefaultGateway": true
      }
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}
"""
_WORDS = {4: "FLANNEL", 6: "FLANNEL_IPV6"}


def plan(cluster: Cluster, mtu: int, *, conflist: bool = True) -> Iterator[NetnsPlan]:
    """`mtu`: what is left in the tunnel."""
    own = ((f"{node_files.CNI}/10-flannel.conflist", CONFLIST),) if conflist else ()
    for node in cluster.nodes:
        texts = (*own, (SUBNET, subnet(cluster.pod_ranges, node, mtu)))
        yield node_files.fragment((cluster.name, node.name, "flannel"), node.name, texts)


def subnet(ranges: tuple[IPNetwork, ...], node: Node, mtu: int) -> str:
    """IPv4 first, whichever family is preferred; a range is named by its first address, which is cni0's."""
    lines = []
    for version, word in _WORDS.items():
        for network in (each for each in ranges if each.version == version):
            lease = next(each for each in node.pod_cidrs if each.version == version)
            lines += [f"{word}_NETWORK={network}", f"{word}_SUBNET={lease[1]}/{lease.prefixlen}"]
    return "\n".join((*lines, f"FLANNEL_MTU={mtu}", "FLANNEL_IPMASQ=true", ""))
