"""Calico IPIP as a plan: a tunnel without a table of its own, routes that BIRD will bring, the module or eBPF."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import ip_address

import pytest
import shipped

from emu import planners
from emu.api.wrong import Wrong
from emu.plan import render
from emu.plan.model import IpipBy, NetnsPlan, Plan
from emu.planners.cni import calico_ipip
from emu.trace.firewall import At, Firewall
from emu.trace.model import Flow, Headers
from emu.trace.packet import Packet
from emu.trace.predict import predict
from emu.trace.world import World

FOLDER, RACKS = "two-node-calico-ipip", "two-racks-calico-ipip-cross-subnet"


@cache
def planned(folder: str, module: bool) -> Plan:
    return planners.build(replace(shipped.cluster(folder), ipip_module=module))


def brought(netns: NetnsPlan) -> list[str]:
    return [render.route(each.route) for each in netns.expected]


@pytest.mark.parametrize(("module", "source"), [(True, "10.244.1.0"), (False, "192.168.100.11")])
def test_a_node_lends_its_pods_links_the_address_of_its_oldest_link(module: bool, source: str) -> None:
    """They have none of their own. The module's tunl0 is there before eth0, ours is not."""
    plan = planned(FOLDER, module)
    pod = plan.netns["default.client"]
    flow = Flow(netns="node1", dst=pod.addresses[0].address.ip, proto="icmp")
    assert str(predict(plan, flow).paths[0].forward.hops[0].inner.src) == source


@pytest.mark.parametrize(("proto", "masqueraded"), [("ipip", False), ("udp", True)])
def test_whether_a_tunnels_packet_crosses_the_nat_table_is_not_predicted(proto: str, masqueraded: bool) -> None:
    """IPIP has no ports: the outer packets of two Nodes are one flow, and whether it is new depends on the others."""
    machine = World(planned(FOLDER, True)).machines["node1"]
    outer = Headers(src=ip_address("192.168.100.11"), dst=ip_address("192.168.100.12"), proto=proto)
    at = At("POSTROUTING", oif="eth0", next_hop=outer.dst)
    outcome, causes = Firewall(lambda _: 0).pass_through(machine, Packet(outer, mark=0x4000), at)
    assert outcome is not None and outcome.masquerade is masqueraded
    assert any(cause.text.startswith("-t nat") for cause in causes) is masqueraded


def test_routes_lead_through_the_tunnel_to_the_nodes_themselves() -> None:
    assert brought(planned(FOLDER, True).netns["node1"]) == [
        "blackhole 10.244.1.0/26 proto bird",
        "10.244.2.0/26 via 192.168.100.12 dev tunl0 proto bird onlink",
    ]


def test_with_cross_subnet_a_node_of_the_same_rack_is_reached_without_the_tunnel() -> None:
    assert brought(planned(RACKS, True).netns["node1"]) == [
        "blackhole 10.244.1.0/26 proto bird",
        "10.244.2.0/26 via 192.168.100.12 dev eth0 proto bird",
        "10.244.3.0/26 via 192.168.101.13 dev tunl0 proto bird onlink",
        "10.244.4.0/26 via 192.168.101.14 dev tunl0 proto bird onlink",
    ]


def test_bird_is_told_by_which_link_each_node_is_a_next_hop() -> None:
    (daemon,) = planned(RACKS, True).netns["node1"].daemons
    assert [line.strip() for line in daemon.files[0].text.splitlines() if "%" in line] == [
        "route 192.168.100.12/32 via 192.168.100.12%eth0;",
        "route 192.168.101.13/32 via 192.168.101.13%tunl0 onlink;",
        "route 192.168.101.14/32 via 192.168.101.14%tunl0 onlink;",
    ]


def test_the_tunnel_has_the_first_address_of_the_nodes_block_and_room_for_the_outer_header() -> None:
    node1 = planned(FOLDER, True).netns["node1"]
    tunnel = node1.link("tunl0")
    assert tunnel is not None and (tunnel.kind, tunnel.mtu) == ("ipip", 1480)
    assert [str(each.address) for each in node1.addresses if each.dev == "tunl0"] == ["10.244.1.0/32"]


def test_pods_have_the_tunnels_mtu() -> None:
    plan = planned(FOLDER, True)
    assert {link.mtu for netns in plan.netns.values() for link in netns.links if netns.kind == "pod"} == {1480}


def test_who_realises_the_tunnel_is_the_machines_choice_and_changes_nothing_else() -> None:
    module, ebpf = (planned(FOLDER, module).netns["node1"] for module in (True, False))
    assert [each.by for each in (module.link("tunl0").ipip, ebpf.link("tunl0").ipip)] == [IpipBy.MODULE, IpipBy.EBPF]  # type: ignore[union-attr]
    assert (module.programs, len(ebpf.programs)) == ((), 2)
    alike = replace(ebpf, programs=(), links=module.links)
    assert alike == module


def test_the_plan_says_which_it_is() -> None:
    by_module, by_ebpf = (
        next(note for note in planned(FOLDER, each).notes if "tunl0" in note) for each in (True, False)
    )
    assert "ipip module's" in by_module
    assert "eBPF" in by_ebpf


def of_tunnel(plan: Plan) -> list[str]:
    words = ("tunl0", "bpftool", " eth0 clsact", " eth0 ingress")
    script = (line for line in render.render(plan).splitlines() if "node1" in line and not line.startswith("#"))
    return [line for line in script if any(word in line for word in words)]


def test_the_script_takes_the_modules_tunnel() -> None:
    assert of_tunnel(planned(FOLDER, True)) == [
        "ip -n node1 link add tunl0 type ipip 2>/dev/null || true",
        "ip -n node1 link set tunl0 mtu 1480 up",
        "ip -n node1 address add 10.244.1.0/32 dev tunl0",
    ]


def test_the_script_makes_a_tun_device_with_programs_that_know_its_index() -> None:
    assert of_tunnel(planned(FOLDER, False)) == [
        "ip -n node1 tuntap add dev tunl0 mode tun",
        "ip -n node1 link set tunl0 txqueuelen 1000 multicast off mtu 1480 up",
        "ip -n node1 address add 10.244.1.0/32 dev tunl0",
        "bpftool prog loadall emu/kernel/bpf/build/ipip.*.o /run/bpf/node1-ipip pinmaps /run/bpf/node1-ipip",
        "ip netns exec node1 sh -c 'bpftool map update pinned /run/bpf/node1-ipip/config key 0 0 0 0 value "
        "$(cat /sys/class/net/tunl0/ifindex) 0 0 0 $(cat /sys/class/net/eth0/ifindex) 0 0 0 192 168 100 11'",
        "ip netns exec node1 tc qdisc replace dev tunl0 clsact",
        "ip netns exec node1 tc filter replace dev tunl0 egress prio 1 handle 1 protocol all bpf direct-action "
        "object-pinned /run/bpf/node1-ipip/ipip_encap",
        "ip netns exec node1 tc qdisc replace dev eth0 clsact",
        "ip netns exec node1 tc filter replace dev eth0 ingress prio 1 handle 1 protocol ip bpf direct-action "
        "object-pinned /run/bpf/node1-ipip/ipip_decap",
    ]


def test_a_cluster_without_ipv4_is_refused() -> None:
    with pytest.raises(Wrong, match="IPIP carries IPv4 alone"):
        calico_ipip.check(replace(shipped.cluster(FOLDER).topology, family="ipv6"))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"cross_subnet": "yes"}, "must be true or false"), ({"vni": 1}, "unknown option vni")],
)
def test_wrong_options_are_refused(options: dict[str, object], said: str) -> None:
    base = shipped.cluster(FOLDER).topology
    with pytest.raises(Wrong, match=said):
        calico_ipip.check(replace(base, cni=replace(base.cni, options=options)))
