"""Which paths `emu verify` sends beside the usual ones, where Nodes have several uplinks and an internet."""

from __future__ import annotations

import shipped

from emu.trace import uplink_flows


def kinds(folder: str) -> list[str]:
    cluster = shipped.cluster(folder)
    found = list(uplink_flows.flows(cluster, cluster.pods))
    assert {flow.netns for flow in found} <= shipped.plan(folder).netns.keys()
    return [flow.label.partition(":")[0] for flow in found]


def test_a_cluster_on_switches_has_none() -> None:
    assert kinds("two-node-flannel-vxlan") == []


def test_where_all_pods_are_on_eth0_only_the_internet_is_more() -> None:
    assert kinds("two-node-aws-vpc") == [
        "Pod of eth0 to the internet",
        "Node to the internet",
        "the internet to a Node",
    ]


def test_each_further_uplink_with_pods_is_tried_both_ways_and_to_the_internet() -> None:
    assert kinds("two-node-aws-vpc-secondary-enis") == [
        "Pod of eth1 to Pod, other Node",
        "Pod to Pod of eth1, other Node",
        "Pod of eth0 to the internet",
        "Pod of eth1 to the internet",
        "Node to the internet",
        "the internet to a Node",
    ]
