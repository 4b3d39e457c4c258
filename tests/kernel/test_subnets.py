"""A cloud's subnet by a router's nftables table: who is answered with which MAC, whose frames pass, and what is told
when the table is not as planned."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import lab
import pytest
from test_apply import change, pings, up
from test_read import drifts

from emu.kernel import process, subnets
from emu.plan.model import Address, Link, Neighbor, NetnsKind, NetnsPlan, Plan, Role, Route, Sysctl
from emu.plan.subnet import Subnet, SubnetAddress, SubnetPort

pytestmark = pytest.mark.root

NETWORK, ROUTER = ip_network("10.0.0.0/24"), ip_address("10.0.0.1")
RANGE = ip_network("10.0.0.64/28")  # of b, beside its own address
MACS = {name: lab.mac(2, n) for n, name in enumerate("abc")}
OWN = {"a": "10.0.0.11", "b": "10.0.0.12", "c": "10.0.0.13"}
ROUTERS_MAC = lab.mac(9)
GRATUITOUS = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0x0806))
mac, ip = bytes.fromhex(sys.argv[1].replace(":", "")), socket.inet_aton(sys.argv[2])
s.send(b"\\xff" * 6 + mac + bytes.fromhex("0806000108000604 0002") + mac + ip + b"\\xff" * 6 + ip)
"""


def port(name: str) -> tuple[SubnetPort | SubnetAddress, ...]:
    given = (ip_network(OWN[name]), *((RANGE,) if name == "b" else ()))
    lines = (SubnetAddress(network=NETWORK, address=each, mac=MACS[name]) for each in given)
    return (SubnetPort(network=NETWORK, dev=f"to-{name}"), *lines)


def vpc(*names: str) -> NetnsPlan:
    devs = {name: f"to-{name}" for name in names}
    settings = [("ip_forward", "1"), *((f"conf.{dev}.proxy_arp", "1") for dev in devs.values())]
    settings += [(f"neigh.{dev}.proxy_delay", "0") for dev in devs.values()]
    return NetnsPlan(
        name="vpc", kind=NetnsKind.ROUTER, owner="vpc",
        links=tuple(Link(name=dev, kind="veth", role=Role.FABRIC, owner="vpc", mac=ROUTERS_MAC, peer=(name, "eth0"))
                    for name, dev in devs.items()),
        addresses=tuple(Address(dev=dev, address=ip_interface(ROUTER)) for dev in devs.values()),
        routes=(*(Route(dst=ip_network(OWN[name]), dev=dev, scope="link") for name, dev in devs.items()),
                *(Route(dst=RANGE, dev=dev, via=ip_address(OWN["b"])) for name, dev in devs.items() if name == "b")),
        neighbors=tuple(Neighbor(dev=dev, address=ip_address(OWN[name]), mac=MACS[name])
                        for name, dev in devs.items()),
        sysctls=(*lab.QUIET, *(Sysctl(key=f"net.ipv4.{key}", value=value) for key, value in settings)),
        subnets=(Subnet(network=NETWORK, router=ROUTER), *(each for name in names for each in port(name))),
    )  # fmt: skip


def host(name: str) -> NetnsPlan:
    link = Link(name="eth0", kind="veth", role=Role.UPLINK, owner=name, mac=MACS[name], peer=("vpc", f"to-{name}"))
    own = [Address(dev="eth0", address=ip_interface(f"{OWN[name]}/24"))]
    own += [Address(dev="eth0", address=ip_interface("10.0.0.70/32"))] if name == "b" else []
    return NetnsPlan(name=name, kind=NetnsKind.NODE, owner=name, links=(link,), addresses=tuple(own),
                     sysctls=lab.QUIET)  # fmt: skip


def plan(*names: str) -> Plan:
    spaces = (vpc(*names), *map(host, names))
    return Plan(name="lab", seed=1, netns={space.name: space for space in spaces})


def run(kernel, netns: str, *argv: str) -> str:
    return process.run(argv, ns=kernel.netns(netns)).stdout


def known(kernel, netns: str, address: str) -> str:
    """The MAC it has for an address; "" for none."""
    found = json.loads(run(kernel, netns, "ip", "-j", "neigh", "show", address))
    return next((entry.get("lladdr", "") for entry in found), "")


def told(kernel, plan: Plan) -> list[str]:
    return [str(each) for each in drifts(kernel, plan)]


def mended(kernel, plan: Plan) -> list[str]:
    kernel.repair(drifts(kernel, plan))
    return told(kernel, plan)


def test_each_is_answered_for_with_its_own_mac_the_router_with_the_routers_and_nobody_for_what_nobody_has(sandbox):
    def inside():
        kernel = up(plan("a", "b"))
        asked = (OWN["b"], "10.0.0.70", str(ROUTER), "10.0.0.99")
        return [(address, pings(kernel, "a", address), known(kernel, "a", address)) for address in asked]

    assert sandbox(inside) == [
        (OWN["b"], True, MACS["b"]),
        ("10.0.0.70", True, MACS["b"]),
        (str(ROUTER), True, ROUTERS_MAC),
        ("10.0.0.99", False, ""),
    ]


def test_a_frame_passes_to_the_mac_that_has_its_destination_and_to_the_router_and_to_no_other(sandbox):
    """And who gets it sees the sender's MAC, or the router's."""

    def inside():
        kernel, found = up(plan("a", "b", "c")), []
        hook, own = "type filter hook ingress device eth0 priority 0;", OWN["a"]
        for name, mac in (("a", MACS["a"]), ("router", ROUTERS_MAC)):
            rule = f"ether saddr {mac} ip saddr {own} counter;"
            run(kernel, "b", "nft", f"table netdev {name} {{ chain heard {{ {hook} {rule} }}; }}")
        for mac in (MACS["b"], ROUTERS_MAC, MACS["c"], lab.mac(7)):
            run(kernel, "a", "ip", "neigh", "replace", OWN["b"], "lladdr", mac, "dev", "eth0", "nud", "permanent")
            before = {name: counted(kernel, name) for name in ("a", "router")}
            passed = pings(kernel, "a", OWN["b"])
            found.append((passed, [name for name in before if counted(kernel, name) > before[name]]))
        return found

    assert sandbox(inside) == [(True, ["a"]), (True, ["router"]), (False, []), (False, [])]


def counted(kernel, table: str) -> int:
    objects = json.loads(run(kernel, "b", "nft", "-j", "list", "table", "netdev", table))["nftables"]
    (rule,) = (each["rule"] for each in objects if "rule" in each)
    return next(each["counter"]["packets"] for each in rule["expr"] if "counter" in each)


def test_who_claims_anothers_address_gets_nothing_by_it(sandbox):
    def inside():
        kernel = up(plan("a", "b", "c"))
        run(kernel, "c", "python3", "-c", GRATUITOUS, MACS["c"], OWN["b"])
        return pings(kernel, "a", OWN["b"]), known(kernel, "a", OWN["b"])

    assert sandbox(inside) == (True, MACS["b"])


def test_what_is_read_is_what_was_planned_and_what_is_broken_is_named_and_mended(sandbox):
    name = f"subnet {NETWORK}"
    table = f"subnet-{NETWORK}"
    breaks = {
        f"delete element netdev {table} macs {{ {OWN['b']} }}": [
            f"vpc: {name}, {OWN['b']}: wanted {OWN['b']} : {MACS['b']}, "
            f"got {OWN['b']} : {MACS['b']} in frames alone"
        ],
        f"add element netdev {table} frames {{ {MACS['c']} . {RANGE} }}": [
            f"vpc: {name}, {RANGE}: not in the plan: {RANGE} : {MACS['c']} in frames alone"
        ],
        f"add element netdev {table} macs {{ 10.0.0.200 comment \"mine\" : {MACS['a']} }}": [
            f"vpc: {name}, 10.0.0.200: not in the plan: 10.0.0.200 : {MACS['a']} in macs alone"
        ],
        f"flush chain netdev {table} out": [
            f"vpc: {name}: wanted table netdev {table}, router {ROUTER}, "
            f"got table netdev {table}, router {ROUTER}, with other rules"
        ],
        f"flush chain netdev {table} in-to-a": [
            f"vpc: {name} dev to-a: missing: table netdev {table}, chains in-to-a and out-to-a"
        ],
        f"delete table netdev {table}": ["9 things"],
    }  # fmt: skip

    def inside():
        wanted = plan("a", "b", "c")
        kernel = up(wanted)
        found = [told(kernel, wanted)]
        for line in breaks:
            run(kernel, "vpc", "nft", line)
            said = told(kernel, wanted)
            found += [said if len(said) < 3 else [f"{len(said) + 1} things"], mended(kernel, wanted)]
        return found, pings(kernel, "a", OWN["b"]), known(kernel, "a", OWN["b"])

    found, answered, mac = sandbox(inside)
    assert found == [[], *(each for said in breaks.values() for each in (said, []))]
    assert (answered, mac) == (True, MACS["b"])


def test_what_somebody_else_has_in_the_family_is_passed_over_and_a_range_of_his_in_the_table_is_told(sandbox):
    def inside():
        wanted = plan("a")
        kernel = up(wanted)
        taken = "map macs { type ipv4_addr : verdict; elements = { 192.0.2.1 : drop }; }"
        other = f"{taken}; set frames {{ type ipv4_addr; elements = {{ 192.0.2.1 }}; }}"
        run(kernel, "vpc", "nft", f"table netdev his {{ {other}; }}")
        found = [told(kernel, wanted)]
        run(kernel, "vpc", "nft", f"add element netdev subnet-{NETWORK} macs {{ 10.0.0.200-10.0.0.202 : {MACS['a']} }}")
        return [*found, told(kernel, wanted)]

    untold, ranged = sandbox(inside)
    assert untold == []
    assert [each.partition(": not")[0].rpartition(" ")[2] for each in ranged] == ["10.0.0.200/31", "10.0.0.202"]


def test_a_port_that_is_lost_is_made_again_with_its_rules(sandbox):
    """A chain goes with its device, or (Linux 6.18) waits for another of the name."""

    def inside():
        wanted = plan("a", "b")
        kernel = up(wanted)
        run(kernel, "vpc", "ip", "link", "del", "to-b")
        named = told(kernel, wanted)
        return named, mended(kernel, wanted), pings(kernel, "a", OWN["b"]), known(kernel, "a", OWN["b"])

    named, left, answered, mac = sandbox(inside)
    assert any("link to-b: missing" in each for each in named)
    assert (left, answered, mac) == ([], True, MACS["b"])


def test_ports_and_addresses_come_and_go(sandbox):
    def inside():
        both = plan("a", "b")
        kernel = up(plan("a"))
        kernel_says = [told(kernel, plan("a"))]
        now = change(kernel, plan("a"), *both.netns.values())
        kernel_says.append(told(kernel, now))
        less = replace(now.netns["vpc"], subnets=tuple(each for each in now.netns["vpc"].subnets
                                                       if getattr(each, "address", None) != RANGE))  # fmt: skip
        now = change(kernel, now, less)
        kernel_says.append(told(kernel, now))
        reached = pings(kernel, "a", OWN["b"]), pings(kernel, "a", "10.0.0.70")
        now = change(kernel, now, vpc("a"), without=("b",))
        return [*kernel_says, told(kernel, now)], reached

    assert sandbox(inside) == ([[], [], [], []], (True, False))


def test_an_address_that_is_given_to_another_is_answered_for_with_the_new_ones_mac(sandbox):
    def inside():
        wanted = plan("a", "b", "c")
        kernel = up(wanted)
        found = [(pings(kernel, "a", "10.0.0.70"), known(kernel, "a", "10.0.0.70"))]
        moved = [replace(each, mac=MACS["c"]) if getattr(each, "address", None) == RANGE else each
                 for each in wanted.netns["vpc"].subnets]  # fmt: skip
        routes = [replace(each, dev="to-c", via=ip_address(OWN["c"])) if each.dst == RANGE else each
                  for each in wanted.netns["vpc"].routes]  # fmt: skip
        router = replace(wanted.netns["vpc"], subnets=tuple(moved), routes=tuple(routes))
        taker = replace(wanted.netns["c"], addresses=(
            *wanted.netns["c"].addresses, Address(dev="eth0", address=ip_interface("10.0.0.70/32")),
        ))  # fmt: skip
        new = change(kernel, wanted, router, taker)
        run(kernel, "a", "ip", "neigh", "flush", "dev", "eth0")
        return [*found, (pings(kernel, "a", "10.0.0.70"), known(kernel, "a", "10.0.0.70"))], told(kernel, new)

    assert sandbox(inside) == ([(True, MACS["b"]), (True, MACS["c"])], [])


def test_the_kernel_is_asked_before_anything_is_made(sandbox):
    assert sandbox(subnets.tried) == ""
