"""Who answers for an address that nobody has, what rules before conntrack do, which IPv6 source is taken."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from emu.addressing import link_local
from emu.netfilter import parse
from emu.plan.model import Address, Link, NetnsKind, NetnsPlan, Plan, Role, Route, Sysctl, Vxlan
from emu.trace.model import CauseKind, Flow, Path, Verdict
from emu.trace.predict import predict
from emu.trace.world import Query, World

GATEWAY = ip_address("169.254.1.1")
PROXY = Sysctl(key="net.ipv4.conf.cali1.proxy_arp", value="1")
FORWARD = Sysctl(key="net.ipv4.ip_forward", value="1")
DEFAULT = Route(dst=ip_network("0.0.0.0/0"), dev="eth0", via=ip_address("192.168.100.1"))
EES = "ee:ee:ee:ee:ee:ee"


def veth(name: str, peer: tuple[str, str], role: Role, mac: str = EES) -> Link:
    return Link(name=name, kind="veth", role=role, owner=name, mac=mac, peer=peer)


def pod(number: int) -> NetnsPlan:
    return NetnsPlan(
        name=f"ns.p{number}",
        kind=NetnsKind.POD,
        owner=f"ns/p{number}",
        links=(veth("eth0", ("node", f"cali{number}"), Role.POD_ETH, f"02:00:00:00:00:0{number}"),),
        addresses=(Address(dev="eth0", address=ip_interface(f"10.244.1.{number}")),),
        routes=(
            Route(dst=ip_network("169.254.1.1"), dev="eth0", scope="link"),
            Route(dst=ip_network("0.0.0.0/0"), dev="eth0", via=GATEWAY),
        ),
    )


def plan(*sysctls: Sysctl, routes: tuple[Route, ...] = (DEFAULT,), rules: str = "") -> Plan:
    node = NetnsPlan(
        name="node",
        kind=NetnsKind.NODE,
        owner="node",
        links=(
            veth("eth0", ("elsewhere", "x"), Role.UPLINK, "02:00:00:00:01:00"),
            *(veth(f"cali{n}", (f"ns.p{n}", "eth0"), Role.HOST_VETH) for n in (1, 2)),
        ),
        addresses=(Address(dev="eth0", address=ip_interface("192.168.100.11/24")),),
        routes=(*routes, *(Route(dst=ip_network(f"10.244.1.{n}"), dev=f"cali{n}", scope="link") for n in (1, 2))),
        sysctls=sysctls,
        tables=parse.save(rules, 4),
    )
    return Plan(name="lab", seed=1, netns={each.name: each for each in (node, pod(1), pod(2))})


def ping(of: Plan) -> Path:
    (path,) = predict(of, Flow(netns="ns.p1", dst=ip_address("10.244.1.2"), proto="icmp")).paths
    return path


BOTH = (FORWARD, PROXY, replace(PROXY, key="net.ipv4.conf.cali2.proxy_arp"))


def test_a_pod_of_the_same_node_is_routed_by_way_of_a_gateway_that_nobody_has() -> None:
    path = ping(plan(*BOTH))
    assert [f"{hop.point.ifname} {hop.inner.ttl}" for hop in path.forward.hops] == [
        "eth0 64", "cali1 64", "cali2 63", "eth0 63",
    ]  # fmt: skip
    neighbors = [cause.text for cause in path.forward.origin if cause.kind is CauseKind.NEIGHBOR]
    assert neighbors == [f"169.254.1.1 dev eth0 lladdr {EES}"]
    assert path.reply is not None


def test_nobody_answers_without_proxy_arp_without_forwarding_and_without_a_route() -> None:
    for broken in (plan(FORWARD), plan(PROXY), plan(*BOTH, routes=())):
        path = ping(broken)
        assert path.forward.verdict is Verdict.DROPPED
        assert path.forward.reason == "nobody answers ARP for 169.254.1.1 on ns/p1:eth0"


def test_a_node_does_not_answer_for_what_it_would_send_back_the_same_way() -> None:
    world = World(plan(*BOTH))
    assert world.owner(("ns.p1", "eth0"), ip_address("10.244.1.1")) is None
    assert world.owner(("ns.p1", "eth0"), ip_address("10.244.1.2")) == ("node", "cali1")


SPOOF = """*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -i cali+ -m rpfilter --invert --validmark -j DROP
COMMIT
"""


def test_a_packet_with_another_pods_address_is_dropped_before_conntrack() -> None:
    spoofing = Flow(netns="ns.p1", dst=ip_address("192.168.100.11"), proto="udp", dport=9, src=ip_address("10.244.1.2"))
    (path,) = predict(plan(*BOTH, rules=SPOOF), spoofing).paths
    assert path.forward.verdict is Verdict.DROPPED
    assert "-m rpfilter --validmark --invert -j DROP" in path.forward.reason
    assert ping(plan(*BOTH, rules=SPOOF)).reply is not None


UNTRACKED = """*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p icmp -j NOTRACK
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -j MASQUERADE
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate NEW,ESTABLISHED -j DROP
COMMIT
"""


def test_a_packet_that_is_not_tracked_has_no_state_and_is_not_translated() -> None:
    path = ping(plan(*BOTH, rules=UNTRACKED))
    assert path.forward.verdict is Verdict.DELIVERED
    assert str(path.forward.hops[-1].inner.src) == "10.244.1.1"


def test_ipv6_takes_the_address_most_like_the_destination() -> None:
    tunnel = Vxlan(vni=1, local=ip_address("fd00:100::11"), dev="eth0", port=4789)
    node = NetnsPlan(
        name="node",
        kind=NetnsKind.NODE,
        owner="node",
        links=(
            veth("eth0", ("x", "x"), Role.UPLINK, "02:00:00:00:01:00"),
            veth("cali1", ("y", "y"), Role.HOST_VETH),
            Link(name="tun", kind="vxlan", role=Role.TUNNEL, owner="node", mac="02:00:00:00:02:00", vxlan=tunnel),
        ),
        addresses=(
            Address(dev="eth0", address=ip_interface("fd00:100::11/64")),
            Address(dev="tun", address=ip_interface("fd00:10:244:1::/128")),
        ),
        routes=(Route(dst=ip_network("fd00:10:244:1::5"), dev="cali1"),),
    )
    machine = World(Plan(name="lab", seed=1, netns={"node": node})).machines["node"]
    local, far = ip_address("fd00:10:244:1::5"), ip_address("fd00:100::12")
    assert str(machine.source(machine.route(Query(local)), local)) == "fd00:10:244:1::"  # type: ignore[arg-type]
    assert str(machine.source(machine.route(Query(far)), far)) == "fd00:100::11"  # type: ignore[arg-type]


def test_links_with_the_same_mac_have_the_same_link_local_address() -> None:
    address = link_local(EES)
    assert str(address) == "fe80::ecee:eeff:feee:eeee"
    machine = World(plan()).machines["node"]
    assert machine.bears("cali1", address) and machine.bears("cali2", address) and not machine.bears("eth0", address)
