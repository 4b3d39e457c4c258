"""A Swarm's overlay network: every path as predicted, what is broken in a network's namespace named and mended, and
nothing left of it when the last container of a host has gone."""

from __future__ import annotations

import subprocess

import pytest
from inside import apply, out, wait_until
from labs import TWO_NODES, Labs
from proving import failures, shell

from emu.api.topology import Cni
from emu.errors import MissingFeature
from emu.kernel import ipvs
from emu.plan import render
from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root

SWARM = TWO_NODES.parent / "two-hosts-docker-swarm"
VIP = TWO_NODES.parent / "two-hosts-docker-swarm-vip"


def network(lab: Testbed, node: str) -> str:
    assert lab.plan is not None
    return next(name for name in lab.plan.netns if name.startswith(f"{node}_1-"))


def drifts(lab: Testbed, repair: bool = False) -> list[str]:
    return [str(each) for each in lab.check(repair=repair)]


def test_every_path_is_as_predicted_and_also_with_another_vni_and_mtu(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        results = lab.verify()
        assert failures(results) == [] and drifts(lab) == []
        across = next(each for each in results if each.flow.label.startswith("Pod to Pod, other Node:"))
        assert {hop.encapsulation.vni for hop in across.observed.forward.hops if hop.encapsulation} == {5000}
        assert "mtu 1350" in out(lab, "client1", "ip link show eth0")

    cni = Cni(mode="docker-swarm", options={"vni": 5000, "mtu": 1400})
    testbed(inside, topology=SWARM, cni=cni)


@pytest.mark.parametrize(
    ("command", "says", "drift"),
    [
        ("bridge fdb del 02:42:0a:00:01:06 dev vxlan0 dst 192.168.100.12", "{}:vxlan0", "FDB entry 02:42:0a:00:01:06"),
        ("ip neigh del 10.0.1.6 dev vxlan0", "no packet was seen", "neighbor 10.0.1.6 dev vxlan0: missing"),
        ("ip link set vxlan0 nomaster", "no packet was seen", "link vxlan0: wanted master br0"),
        ("ip link del vxlan0", "no packet was seen", "link vxlan0: missing"),
    ],
)
def test_what_is_broken_in_the_networks_namespace_is_named_and_mended(
    testbed: Labs, command: str, says: str, drift: str
) -> None:
    def inside(lab: Testbed) -> None:
        where = network(lab, "node1")
        forget = "ip neigh flush dev eth0"  # else a request may wait for the answer to an earlier one's last ARP probe
        shell(lab, where, command)
        shell(lab, "default.client1", forget)
        result = lab.trace("client1", "db", proto="icmp")
        assert result.difference is not None
        assert says.format(where) in result.difference.what or "nobody answers ARP" in result.difference.what
        assert any(drift in each for each in drifts(lab, repair=True))
        shell(lab, "default.client1", forget)
        assert drifts(lab) == [] and lab.trace("client1", "db", proto="icmp").ok

    testbed(inside, topology=SWARM)


def test_a_tunnel_that_is_not_the_hosts_is_drift(testbed: Labs) -> None:
    """The same link, made in the network's namespace itself: its socket is there, where nobody hears it."""

    def inside(lab: Testbed) -> None:
        where = network(lab, "node1")
        assert lab.plan is not None
        link = lab.plan.netns[where].link("vxlan0")
        assert link is not None and link.vxlan is not None
        again = f"ip link add vxlan0 mtu 1450 address {link.mac} type vxlan {render.vxlan(link.vxlan)}"
        shell(lab, where, f"ip link del vxlan0; {again}; ip link set vxlan0 master br0 up")
        assert any("with its socket in node1, got VXLAN" in each for each in drifts(lab, repair=True))
        assert drifts(lab) == [] and lab.trace("client1", "db", proto="icmp").ok

    testbed(inside, topology=SWARM)


def test_the_network_leaves_a_host_with_its_last_container_and_comes_with_the_next(testbed: Labs) -> None:
    def inside(lab: Testbed) -> None:
        where = network(lab, "node1")
        lab.delete([("Pod", "default", "web1"), ("Pod", "default", "client1")], grace_period_s=0)
        wait_until(lambda: lab.plan and where not in lab.plan.netns, what="node1 has left the network")
        assert "4789" not in out(lab, "node1", "ss -lun")
        assert where not in subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
        apply(lab, (SWARM / "manifests" / "containers.yaml").read_text())
        assert lab.converge() == () and drifts(lab) == []
        assert "4789" in out(lab, "node1", "ss -lun")
        assert lab.trace("db", "web1", proto="icmp").ok

    testbed(inside, topology=SWARM)


@pytest.mark.skipif(ipvs.has_module(), reason="this kernel has ip_vs: tests/vm/stock/test_swarm.py")
def test_virtual_addresses_are_refused_with_the_module_and_the_remedy_where_the_kernel_has_no_ipvs(
    testbed: Labs,
) -> None:
    with pytest.raises(MissingFeature, match=r"IPVS .*ip_vs") as refused:
        testbed(lambda lab: None, topology=VIP)
    assert "endpoint_mode: dnsrr" in refused.value.hint
