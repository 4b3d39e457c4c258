"""A plan becomes a network: told by packets and by what `ip` prints."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import lab
import pytest

from emu.errors import KernelError
from emu.kernel import process
from emu.kernel.apply import Kernel
from emu.netfilter.model import Chain, Rule, Table
from emu.plan import diff
from emu.plan.model import Address, Changes, NetnsKind, NetnsPlan, Plan, Role, Route, Sysctl

pytestmark = pytest.mark.root

ETH_P_ALL = 3


def up(plan: Plan) -> Kernel:
    kernel = Kernel("test")
    kernel.apply(diff.diff(None, plan), plan)
    return kernel


def change(kernel: Kernel, old: Plan, *spaces: NetnsPlan, without: tuple[str, ...] = ()) -> Plan:
    kept = {name: space for name, space in old.netns.items() if name not in without}
    new = replace(old, netns={**kept, **{space.name: space for space in spaces}})
    kernel.apply(diff.diff(old, new), new)
    return new


def ip(kernel: Kernel, name: str, *arguments: str) -> list[dict]:
    done = process.run(["ip", "-j", "-d", *arguments], ns=kernel.netns(name))
    return json.loads(done.stdout or "[]")


def pings(kernel: Kernel, name: str, address: str) -> bool:
    done = process.run(["ping", "-c1", "-W1", address], ns=kernel.netns(name), check=False)
    return done.code == 0


def test_a_pod_reaches_a_pod_of_another_node_at_once(sandbox):
    def inside():
        kernel = up(lab.plan())
        return pings(kernel, "default.p1-1", "10.244.2.2"), pings(kernel, "node1", "10.244.1.2")

    assert sandbox(inside) == (True, True)


def test_links_are_as_flannel_and_the_bridge_plugin_leave_them(sandbox):
    def inside():
        kernel = up(lab.plan())
        links = {link["ifname"]: link for link in ip(kernel, "node1", "link")}
        vxlan = links["flannel.1"]["linkinfo"]["info_data"]
        veth = links["veth00010001"]
        return (
            (vxlan["id"], vxlan["local"], vxlan["link"], vxlan["port"], vxlan["learning"]),
            (veth["master"], veth["linkinfo"]["info_slave_data"]["hairpin"], veth["mtu"]),
            veth["linkinfo"]["info_slave_data"]["state"],
            (links["cni0"]["address"], links["cni0"]["linkinfo"]["info_data"]["stp_state"]),
            links["eth0"]["operstate"],
        )

    assert sandbox(inside) == (
        (1, "192.168.100.11", "eth0", 8472, False),
        ("cni0", True, 1450),
        "forwarding",
        (lab.mac(3, 1), 0),
        "UP",
    )


def test_a_veth_is_born_with_the_one_queue_it_uses(sandbox):
    def inside():
        kernel = up(lab.plan())
        (eth0,) = (link for link in ip(kernel, "default.p1-1", "link") if link["ifname"] == "eth0")
        return eth0["num_tx_queues"], eth0["num_rx_queues"]

    assert sandbox(inside) == (1, 1)


def test_every_namespace_has_its_own_sysctls_however_many_there_are(sandbox):
    """More than one procfs of the lab's own sees."""
    plan = lab.plan()
    many = {
        f"extra{n}": NetnsPlan(
            name=f"extra{n}",
            kind=NetnsKind.POD,
            owner=f"extra{n}",
            sysctls=(Sysctl(key="net.ipv4.conf.all.rp_filter", value=str(n % 3)),),
        )
        for n in range(150)
    }
    plan = replace(plan, netns={**plan.netns, **many})

    def inside():
        kernel = up(plan)
        return [name for name, space in many.items() if kernel.read(space).sysctls != space.sysctls]

    assert sandbox(inside) == []


def test_rules_of_a_pods_own_are_there_when_it_is(sandbox):
    marking = Table(4, "mangle", (Chain("OUTPUT", (Rule((), "MARK", "--set-xmark 0x7/0xffffffff"),), "ACCEPT"),))
    plan = lab.plan(pods=40)
    pods = {
        name: replace(space, tables=(marking,)) for name, space in plan.netns.items() if space.kind is NetnsKind.POD
    }
    plan = replace(plan, netns={**plan.netns, **pods})

    def inside():
        kernel = up(plan)
        return [name for name, space in pods.items() if "0x7" not in str(kernel.read(space).tables)]

    assert sandbox(inside) == []


def test_an_address_has_the_broadcast_address_the_plugins_give_it(sandbox):
    def inside():
        kernel = up(lab.plan())
        return [
            ip(kernel, name, "-4", "address", "show", "dev", dev)[0]["addr_info"][0].get("broadcast")
            for name, dev in (("default.p1-1", "eth0"), ("node1", "flannel.1"))
        ]

    assert sandbox(inside) == ["10.244.1.255", None]


def test_bringing_a_cluster_up_sends_no_packet_between_nodes(sandbox):
    def inside():
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as all_links:
            up(lab.plan())
            all_links.settimeout(2)  # an IGMP or MLD report waits up to a second
            try:
                return all_links.recv(100).hex()
            except TimeoutError:
                return "nothing"

    assert sandbox(inside) == "nothing"


def test_a_deleted_pod_takes_its_veth_and_its_netns_along(sandbox):
    def inside():
        plan = lab.plan(pods=2)
        kernel = up(plan)
        smaller = lab.node(1, 2, 1)
        change(kernel, plan, smaller, without=("default.p1-2",))
        names = [link["ifname"] for link in ip(kernel, "node1", "link")]
        return "veth00010002" in names, "veth00010001" in names, os.path.exists("/run/netns/default.p1-2")

    assert sandbox(inside) == (False, True, False)


def test_a_pod_added_later_is_reachable(sandbox):
    def inside():
        plan = lab.plan()
        kernel = up(plan)
        change(kernel, plan, lab.node(2, 2, 2), lab.pod(2, 2))
        return pings(kernel, "default.p1-1", "10.244.2.3")

    assert sandbox(inside) is True


def test_a_changed_mtu_keeps_the_link_and_its_routes(sandbox):
    def inside():
        plan = lab.plan()
        kernel = up(plan)
        before = ip(kernel, "node1", "link", "show", "dev", "cni0")[0]["ifindex"]
        node = plan.netns["node1"]
        links = tuple(replace(link, mtu=1400) if link.name == "cni0" else link for link in node.links)
        change(kernel, plan, replace(node, links=links))
        after = ip(kernel, "node1", "link", "show", "dev", "cni0")[0]
        return after["ifindex"] == before, after["mtu"], pings(kernel, "default.p1-1", "10.244.2.2")

    assert sandbox(inside) == (True, 1400, True)


def test_a_route_that_goes_is_gone_and_one_that_changes_is_replaced(sandbox):
    def inside():
        plan = lab.plan()
        kernel = up(plan)
        node = plan.netns["node1"]
        hole = Route(dst=ip_network("10.244.2.0/24"), type="blackhole")
        change(kernel, plan, replace(node, routes=(hole,), addresses=node.addresses[:2]))
        routes = {route["dst"]: route for route in ip(kernel, "node1", "route")}
        return "default" in routes, routes["10.244.2.0/24"]["type"], pings(kernel, "default.p1-1", "10.244.2.2")

    assert sandbox(inside) == (False, "blackhole", False)


def test_removing_what_somebody_else_removed_is_no_error(sandbox):
    def inside():
        plan = lab.plan()
        kernel = up(plan)
        process.run(["ip", "route", "del", "10.244.2.0/24"], ns=kernel.netns("node1"))
        process.run(["ip", "link", "del", "flannel.1"], ns=kernel.netns("node1"))
        node = plan.netns["node1"]
        change(kernel, plan, replace(node, links=node.links[:2], routes=(), neighbors=(), fdb=(), addresses=()))
        return len(ip(kernel, "node1", "route"))

    assert sandbox(inside) == 0


def test_the_error_is_a_line_to_paste_with_the_kernels_words(sandbox):
    def inside():
        plan = lab.plan()
        node = plan.netns["node1"]
        bad = Route(dst=ip_network("10.9.0.0/16"), via=ip_address("172.31.0.1"), dev="cni0")
        broken = replace(plan, netns={**plan.netns, "node1": replace(node, routes=(bad,))})
        with pytest.raises(KernelError) as caught:
            up(broken)
        return str(caught.value)

    said = sandbox(inside)
    assert said.startswith("node1# ip route replace 10.9.0.0/16 via 172.31.0.1 dev cni0 : RTNETLINK says ")
    assert "Network is unreachable (Nexthop has invalid gateway)" in said


def test_a_master_that_is_not_there_is_named(sandbox):
    def inside():
        plan = lab.plan()
        node = plan.netns["node1"]
        links = tuple(link for link in node.links if link.role is not Role.BRIDGE)
        with pytest.raises(KernelError, match="there is no link cni0"):
            up(replace(plan, netns={**plan.netns, "node1": replace(node, links=links)}))

    sandbox(inside)


def test_an_unknown_sysctl_is_named(sandbox):
    def inside():
        plan = lab.plan()
        node = replace(plan.netns["node1"], sysctls=(Sysctl(key="net.ipv4.no_such_key", value="1"),))
        with pytest.raises(KernelError, match=r"node1# sysctl -w net\.ipv4\.no_such_key=1: No such file"):
            up(replace(plan, netns={**plan.netns, "node1": node}))

    sandbox(inside)


def test_ipv6_addresses_are_usable_at_once(sandbox):
    def inside():
        plan = lab.plan()
        spaces = {}
        for n in (1, 2):
            node = plan.netns[f"node{n}"]
            address = Address(dev="eth0", address=ip_interface(f"fd00:100::{10 + n}/64"))
            on = (Sysctl(key="net.ipv6.conf.all.disable_ipv6", value="0"), *node.sysctls[2:])
            routes = (*node.routes, Route(dst=ip_network("fd00:244::/56"), via=ip_address("fd00:100::1"), dev="eth0"))
            spaces[node.name] = replace(node, addresses=(*node.addresses, address), sysctls=on, routes=routes)
        kernel = up(replace(plan, netns={**plan.netns, **spaces}))
        flags = ip(kernel, "node1", "-6", "address", "show", "dev", "eth0", "scope", "global")[0]["addr_info"][0]
        return flags.get("tentative", False), pings(kernel, "node1", "fd00:100::12")

    assert sandbox(inside) == (False, True)


def test_closing_leaves_no_netns_no_link_and_no_descriptor(sandbox):
    def inside():
        before = len(os.listdir("/proc/self/fd"))
        kernel = up(lab.plan(pods=3))
        errors = kernel.close()
        links = json.loads(process.run(["ip", "-j", "link"]).stdout)
        return errors, os.listdir("/run/netns"), [x["ifname"] for x in links], len(os.listdir("/proc/self/fd")) - before

    assert sandbox(inside) == ([], [], ["lo"], 0)


def test_applying_no_change_does_nothing(sandbox):
    def inside():
        plan = lab.plan()
        kernel = up(plan)
        changes = diff.diff(plan, lab.plan())
        kernel.apply(changes, plan)
        return changes == Changes(netns=())

    assert sandbox(inside) is True
