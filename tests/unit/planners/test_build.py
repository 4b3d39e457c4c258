"""The plan as a whole: what is shared, what stays the same object, what a change touches."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clusters import cluster, frontend

from emu import planners
from emu.api.topology import Proxy
from emu.cluster.model import Cluster
from emu.errors import InputError
from emu.netfilter import text
from emu.plan.model import NetnsKind, Plan, Table


def table(plan: Plan, netns: str, name: str) -> Table:
    return next(table for table in plan.netns[netns].tables if table.name == name)


def without_last_backend(base: Cluster, index: int) -> Cluster:
    fewer = replace(base.frontends[index], backends=base.frontends[index].backends[:-1])
    return replace(base, frontends=(*base.frontends[:index], fewer, *base.frontends[index + 1 :]))


def test_unchanged_inputs_give_the_same_objects() -> None:
    first, again = planners.build(cluster(pods=3, services=2)), planners.build(cluster(pods=3, services=2))
    assert first == again
    assert all(first.netns[name] is again.netns[name] for name in first.netns)


def test_nodes_share_what_is_equal_on_them() -> None:
    plan = planners.build(cluster(nodes=3, pods=2, services=2))
    assert table(plan, "node1", "filter") is table(plan, "node3", "filter")
    services = [table(plan, node, "nat").chain("KUBE-SERVICES") for node in ("node1", "node3")]
    assert services[0] is services[1]


def test_one_changed_endpoint_touches_two_chains() -> None:
    base = cluster(nodes=2, pods=4, services=2)
    old, new = planners.build(base), planners.build(without_last_backend(base, 0))
    assert [name for name in old.netns if old.netns[name] is not new.netns[name]] == ["node1", "node2"]
    changed = text.delta(table(old, "node1", "nat"), table(new, "node1", "nat")).splitlines()
    assert [line.split("-")[1] for line in changed if line.startswith(":")] == ["SVC", "SEP"]
    assert [line[:12] for line in changed if line.startswith("-X")] == ["-X KUBE-SEP-"]
    assert text.delta(table(old, "node1", "filter"), table(new, "node1", "filter")) == ""


def test_a_service_that_loses_all_endpoints_is_rejected_instead() -> None:
    base = cluster(services=1)
    empty = replace(base, frontends=(frontend(0, ()),))
    old, new = planners.build(base), planners.build(empty)
    assert "-X KUBE-SVC-" in text.delta(table(old, "node1", "nat"), table(new, "node1", "nat"))
    rejected = text.delta(table(old, "node1", "filter"), table(new, "node1", "filter"))
    assert 'has no endpoints" -m tcp -p tcp -d 10.96.1.0 --dport 80 -j REJECT' in rejected


def test_one_more_pod_touches_its_node_and_itself() -> None:
    small, large = cluster(pods=1, services=0), cluster(pods=2, services=0)
    only = replace(large, pods=tuple(pod for pod in large.pods if pod.name != "web-2-1"))
    old, new = planners.build(small), planners.build(only)
    assert [name for name in new.netns if old.netns.get(name) is not new.netns[name]] == ["node1", "default.web-1-1"]


def test_the_fabric_switches_and_does_nothing_else() -> None:
    fabric = planners.build(cluster()).netns["fabric"]
    assert fabric.kind is NetnsKind.FABRIC
    assert [(link.name, link.master) for link in fabric.links] == [
        ("fabric", ""),
        ("fabric-node1", "fabric"),
        ("fabric-node2", "fabric"),
    ]
    assert {s.key: s.value for s in fabric.sysctls}["net.bridge.bridge-nf-call-iptables"] == "0"
    assert not fabric.addresses and not fabric.tables


def test_a_pod_carries_its_files_and_containers() -> None:
    pod = planners.build(cluster()).netns["default.web-1-0"].pod
    assert pod is not None
    files = {file.path: file.text for file in pod.files}
    assert files["/etc/nsswitch.conf"] == "hosts: files dns\n"
    assert files["/etc/hostname"] == "web-1-0\n"
    assert files["/etc/resolv.conf"].endswith("options ndots:5\n")
    assert [process.container.name for process in pod.processes] == ["web"]


def test_kubernetes_canaries_stand_where_the_real_ones_do() -> None:
    plan = planners.build(cluster())
    for name in ("mangle", "nat", "filter"):
        chains = {chain.name for chain in table(plan, "node1", name).chains}
        assert {"KUBE-PROXY-CANARY", "KUBE-KUBELET-CANARY"} <= chains
    assert table(plan, "node1", "mangle").chain("KUBE-IPTABLES-HINT") is not None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("masqueradeAl", True),
        ("masqueradeAll", "no"),
        ("detectLocalMode", "NodeCIDR"),
        ("nodePortAddresses", "10.0.0.0/8"),
        ("nodePortAddresses", ["10.0.0.1/8"]),
    ],
)
def test_a_wrong_proxy_option_is_named(option: str, value: object) -> None:
    base = cluster()
    wrong = replace(base, topology=replace(base.topology, proxy=Proxy(options={option: value})))
    with pytest.raises(InputError, match=option):
        planners.build(wrong)


def test_an_unknown_mode_names_the_known_ones() -> None:
    base = cluster()
    wrong = replace(base, topology=replace(base.topology, proxy=Proxy(mode="ipvs")))
    with pytest.raises(InputError, match="known: iptables"):
        planners.build(wrong)
