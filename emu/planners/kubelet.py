"""What kubelet keeps in a Node's tables. Its KUBE-FIREWALL rule and jumps are the same as kube-proxy's: who comes
second finds them there, so they stand in the plan once, with kube-proxy's.

Source: kubernetes pkg/kubelet/kubelet_network_linux.go."""

from __future__ import annotations

from collections.abc import Iterator

from emu.api.cnimodes import cni_mode
from emu.cluster.model import Cluster
from emu.memo import Memo
from emu.netfilter.model import Chain, Table
from emu.plan.merge import Fragment, Rules
from emu.plan.model import RulesetPart

OWNER = "kubelet"
CANARY = "KUBE-KUBELET-CANARY"  # empty; kubelet writes its rules anew when somebody flushed it away
HINT = "KUBE-IPTABLES-HINT"  # empty; tells other programs in which variant (nft, legacy) kubelet works


def plan(cluster: Cluster) -> Iterator[Fragment]:
    for family in cluster.families if cni_mode(cluster.topology.cni.mode).kubelet else ():
        for node in cluster.nodes:
            yield Rules(node.name, _part(family, family))


def _make_part(family: int) -> RulesetPart:
    tables = (
        Table(family, "mangle", (Chain(HINT), Chain(CANARY))),
        Table(family, "nat", (Chain(CANARY),)),
        Table(family, "filter", (Chain(CANARY),)),
    )
    return RulesetPart(owner=OWNER, family=family, tables=tables)


_part: Memo[RulesetPart] = Memo(_make_part)
