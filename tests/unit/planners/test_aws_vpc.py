"""The AWS VPC CNI: what is on a Node, in a Pod and in the VPC, as the tools print it; and where packets go by it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
import shipped

from emu import planners
from emu.api import topologyfile
from emu.cluster.model import Cluster
from emu.cluster.nodes import nodes
from emu.cluster.routers import routers
from emu.errors import InputError
from emu.names import pod_netns
from emu.netfilter import text
from emu.plan import render
from emu.plan.diff import diff
from emu.plan.model import Link, Neighbor, NetnsPlan, Plan
from emu.planners.cni import aws_vpc, aws_vpc_rules
from emu.trace.model import CauseKind, Flow, Hop, Path, Verdict
from emu.trace.predict import predict

PLAIN, ENIS, ZONES = "two-node-aws-vpc", "two-node-aws-vpc-secondary-enis", "two-zones-aws-vpc-prefixes"
INTERNET = "203.0.113.10"
INTERNET_SEES = "198.51.100.11"


def save(rules: tuple[str, ...], chain: str) -> list[str]:
    return [line for line in rules if line.startswith(f"-A {chain} ")]


def rules(netns: NetnsPlan, table: str) -> tuple[str, ...]:
    found = next(each for each in netns.tables if each.name == table)
    return tuple(text.save(found).splitlines())


def pod_on(folder: str, node: str, dev: str) -> tuple[str, str]:
    """(netns, address) of a Pod with an address of that ENI."""
    cluster = shipped.cluster(folder)
    uplink = next(up for up in cluster.node(node).uplinks if up.dev == dev)
    pod = next(pod for pod in cluster.pods_on(node) if any(pod.addresses[0] in network for network in uplink.assigned))
    return pod_netns(pod.namespace, pod.name), str(pod.addresses[0])


def path(plan: Plan, netns: str, address: str) -> Path:
    (found,) = predict(plan, Flow(netns=netns, dst=ip_address(address), proto="icmp")).paths
    return found


def places(hops: tuple[Hop, ...]) -> list[str]:
    return [f"{hop.direction} {hop.point.netns}:{hop.point.ifname}" for hop in hops]


def without_rule(plan: Plan, node: str, priority: int) -> Plan:
    netns = plan.netns[node]
    less = replace(netns, rules=tuple(rule for rule in netns.rules if rule.priority != priority))
    return replace(plan, netns={**plan.netns, node: less})


# --- a Node and a Pod


def test_the_nat_chains_are_aws_nodes() -> None:
    nat = rules(shipped.plan(PLAIN).netns["node1"], "nat")
    assert save(nat, "AWS-SNAT-CHAIN-0") == [
        '-A AWS-SNAT-CHAIN-0 -d 10.0.0.0/16 -m comment --comment "AWS SNAT CHAIN" -j RETURN',
        '-A AWS-SNAT-CHAIN-0 ! -o vlan+ -m comment --comment "AWS, SNAT" -m addrtype ! --dst-type LOCAL '
        "-j SNAT --to-source 10.0.0.11 --random-fully",
    ]
    assert save(nat, "AWS-CONNMARK-CHAIN-0") == [
        '-A AWS-CONNMARK-CHAIN-0 -d 10.0.0.0/16 -m comment --comment "AWS CONNMARK CHAIN" -j RETURN',
        '-A AWS-CONNMARK-CHAIN-0 -m comment --comment "AWS, CONNMARK" -j CONNMARK --set-xmark 0x80/0x80',
    ]
    assert save(nat, "PREROUTING")[1:] == [
        '-A PREROUTING -i eni+ -m comment --comment "AWS, outbound connections" -j AWS-CONNMARK-CHAIN-0',
        '-A PREROUTING -m comment --comment "AWS, CONNMARK" -j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80',
    ]
    assert save(nat, "POSTROUTING")[1:] == ['-A POSTROUTING -m comment --comment "AWS SNAT CHAIN" -j AWS-SNAT-CHAIN-0']


def test_the_mangle_rules_keep_connections_of_eth0_on_eth0() -> None:
    mangle = rules(shipped.plan(PLAIN).netns["node1"], "mangle")
    restore = "-j CONNMARK --restore-mark --nfmask 0x80 --ctmask 0x80"
    assert save(mangle, "PREROUTING") == [
        '-A PREROUTING -i eth0 -m comment --comment "AWS, primary ENI" -m addrtype --dst-type LOCAL --limit-iface-in '
        "-j CONNMARK --set-xmark 0x80/0x80",
        f'-A PREROUTING -i eni+ -m comment --comment "AWS, primary ENI" {restore}',
        f'-A PREROUTING -i vlan+ -m comment --comment "AWS, primary ENI" {restore}',
    ]


def options(**given: object) -> aws_vpc_rules.Snat:
    return aws_vpc.snat_of(given, ("10.0.0.0/16",))


def chains(snat: aws_vpc_rules.Snat) -> list[str]:
    part = aws_vpc_rules.part(("test", snat), snat, "10.0.0.11")
    return [line for table in part.tables for line in text.save(table).splitlines() if line.startswith("-A")]


def test_excluded_ranges_stand_before_the_vpcs_for_each_is_inserted_first() -> None:
    made = chains(options(exclude_snat_cidrs=["192.0.2.0/24", "198.18.0.0/15"], randomize_snat="none"))
    assert [line.split(" -m ")[0].removeprefix("-A AWS-") for line in made] == [
        "CONNMARK-CHAIN-0 -d 198.18.0.0/15", "CONNMARK-CHAIN-0 -d 192.0.2.0/24", "CONNMARK-CHAIN-0 -d 10.0.0.0/16",
        "CONNMARK-CHAIN-0", "SNAT-CHAIN-0 -d 198.18.0.0/15", "SNAT-CHAIN-0 -d 192.0.2.0/24",
        "SNAT-CHAIN-0 -d 10.0.0.0/16", "SNAT-CHAIN-0 ! -o vlan+",
    ]  # fmt: skip
    assert '"AWS SNAT CHAIN EXCLUSION"' in made[4]
    assert made[-1].endswith("--to-source 10.0.0.11")


def test_external_snat_leaves_an_empty_chain_and_the_rules_for_nodeports() -> None:
    snat = options(external_snat=True)
    part = aws_vpc_rules.part(("external",), snat, "10.0.0.11")
    assert [chain.name for table in part.tables for chain in table.chains] == ["AWS-SNAT-CHAIN-0"]
    assert {(hook.table, hook.chain) for hook in part.hooks} == {("mangle", "PREROUTING")}


def test_a_pod_on_eth0_has_one_rule_of_routing_and_one_on_eth1_two() -> None:
    plan = shipped.plan(ENIS)
    shown = [render.policy_rule(rule) for rule in plan.netns["node1"].rules]
    _, first = pod_on(ENIS, "node1", "eth0")
    _, second = pod_on(ENIS, "node1", "eth1")
    assert [rule for rule in shown if f"{first}/32" in rule] == [f"priority 512 from all to {first}/32 lookup main"]
    assert [rule for rule in shown if f"{second}/32" in rule] == [
        f"priority 512 from all to {second}/32 lookup main",
        f"priority 1536 from {second}/32 lookup 2",
    ]
    assert "priority 1024 from all fwmark 0x80/0x80 lookup main" in shown
    assert "priority 32765 from 10.0.1.4/32 lookup 2" in shown


def test_each_further_eni_has_a_table_and_no_route_to_its_network() -> None:
    node = shipped.plan(ENIS).netns["node1"]
    tables = [render.route(route) for route in node.routes if route.table != 254]
    assert tables == [
        "10.0.0.1 dev eth1 table 2 scope link", "default via 10.0.0.1 dev eth1 table 2",
        "10.0.0.1 dev eth2 table 3 scope link", "default via 10.0.0.1 dev eth2 table 3",
    ]  # fmt: skip
    assert [(each.dev, each.prefix_route) for each in node.addresses] == [
        ("eth0", True), ("eth1", False), ("eth2", False)
    ]  # fmt: skip
    assert {sysctl.key: sysctl.value for sysctl in node.sysctls}["net.ipv4.conf.eth0.rp_filter"] == "2"


def test_a_pod_has_a_permanent_entry_for_the_gateway_that_nobody_has() -> None:
    plan = shipped.plan(PLAIN)
    pod = plan.netns["default.client"]
    (link,) = pod.links
    assert link.peer == ("node1", "enia7a3e029a7b")  # eni and SHA-1 of default.client
    outside = plan.netns["node1"].link("enia7a3e029a7b")
    assert outside is not None
    assert [render.neighbor(each) for each in pod.neighbors] == [f"169.254.1.1 dev eth0 lladdr {outside.mac} PERMANENT"]
    assert [render.route(each) for each in pod.routes] == [
        "169.254.1.1 dev eth0 scope link",
        "default via 169.254.1.1 dev eth0",
    ]
    assert [str(each.address) for each in pod.addresses] == ["10.0.1.2/32"]
    assert {link.mtu for link in (*pod.links, *plan.netns["node1"].links)} == {9001}


# --- the VPC


def test_the_vpc_has_a_port_for_each_eni_and_a_line_for_each_address() -> None:
    vpc = shipped.plan(ENIS).netns["vpc"]
    assert [link.name for link in vpc.links] == [
        "igw", *(f"node{node}-eth{number}" for node in (1, 2) for number in (0, 1, 2))
    ]  # fmt: skip
    shown = [render.route(route) for route in vpc.routes]
    assert "blackhole 10.0.0.0/16" in shown
    assert "10.0.1.4 dev node1-eth1 scope link" in shown
    assert "10.0.1.5 via 10.0.1.4 dev node1-eth1" in shown
    assert len([route for route in vpc.routes if route.dst.prefixlen == 32]) == 2 * 3 * 4


def test_pods_of_two_nodes_meet_by_the_vpc_which_is_no_hop() -> None:
    plan = shipped.plan(PLAIN)
    _, address = pod_on(PLAIN, "node2", "eth0")
    found = path(plan, "default.client", address)
    assert places(found.forward.hops)[2:6] == [
        "out node1:eth0",
        "in vpc:node1-eth0",
        "out vpc:node2-eth0",
        "in node2:eth0",
    ]
    assert [hop.inner.ttl for hop in found.forward.hops] == [64, 64, 63, 63, 63, 63, 62, 62]
    assert len({(hop.inner.src, hop.inner.dst) for hop in found.forward.hops}) == 1
    assert found.reply is not None and found.reply.verdict is Verdict.DELIVERED


def test_a_pod_of_eth1_leaves_by_eth1_and_one_of_eth0_by_eth0() -> None:
    plan = shipped.plan(ENIS)
    _, target = pod_on(ENIS, "node2", "eth0")
    by = {dev: places(path(plan, pod_on(ENIS, "node1", dev)[0], target).forward.hops)[2:4] for dev in ("eth0", "eth1")}
    assert by == {dev: [f"out node1:{dev}", f"in vpc:node1-{dev}"] for dev in ("eth0", "eth1")}


def test_without_its_rule_a_pods_packet_leaves_by_the_wrong_eni_and_the_vpc_drops_it() -> None:
    plan = without_rule(shipped.plan(ENIS), "node1", aws_vpc.FROM_POD)
    netns, _ = pod_on(ENIS, "node1", "eth1")
    _, target = pod_on(ENIS, "node2", "eth0")
    found = path(plan, netns, target).forward
    assert found.verdict is Verdict.DROPPED
    assert places(found.hops)[-2:] == ["out node1:eth0", "in vpc:node1-eth0"]
    assert "source is not assigned to this ENI" in found.reason


def frames(plan: Plan, netns: str, address: str) -> list[tuple[str, str, str]]:
    """(point, source MAC, destination MAC) at the VPC, of the request."""
    hops = path(plan, netns, address).forward.hops
    return [(str(hop.point), hop.src_mac, hop.dst_mac) for hop in hops if hop.point.netns == "vpc"]


def mac(plan: Plan, netns: str, dev: str) -> str:
    link = plan.netns[netns].link(dev)
    assert link is not None and link.mac
    return link.mac


def test_within_a_subnet_a_frame_goes_from_eni_to_eni_as_it_was_sent() -> None:
    plan = shipped.plan(PLAIN)
    _, address = pod_on(PLAIN, "node2", "eth0")
    sent = (mac(plan, "node1", "eth0"), mac(plan, "node2", "eth0"))
    assert frames(plan, "default.client", address) == [("vpc:node1-eth0", *sent), ("vpc:node2-eth0", *sent)]


@pytest.mark.parametrize(("folder", "dev"), [(ENIS, "eth1"), (ZONES, "eth0")])
def test_what_goes_by_the_gateway_is_sent_to_the_routers_mac_and_comes_from_it(folder: str, dev: str) -> None:
    """From eth1, whose table has no other way, and to another subnet."""
    plan = shipped.plan(folder)
    netns, _ = pod_on(folder, "node1", dev)
    _, address = pod_on(folder, "node2", "eth0")
    first, second = (mac(plan, "vpc", port) for port in (f"node1-{dev}", "node2-eth0"))
    assert frames(plan, netns, address) == [
        (f"vpc:node1-{dev}", mac(plan, "node1", dev), first),
        ("vpc:node2-eth0", second, mac(plan, "node2", "eth0")),
    ]
    assert (first == second) is (folder == ENIS), "one MAC in each subnet"


def with_neighbor(plan: Plan, address: str, mac: str) -> Plan:
    """Of node1's eth0, written by hand."""
    entry = Neighbor(dev="eth0", address=ip_address(address), mac=mac)
    node = replace(plan.netns["node1"], neighbors=(*plan.netns["node1"].neighbors, entry))
    return replace(plan, netns={**plan.netns, "node1": node})


def test_a_frame_to_an_eni_that_has_not_its_destination_is_not_delivered() -> None:
    plan = shipped.plan(ENIS)
    _, address = pod_on(ENIS, "node2", "eth0")
    ends = {}
    for dev in ("eth0", "eth1"):
        found = path(with_neighbor(plan, address, mac(plan, "node2", dev)), "default.client", address).forward
        ends[dev] = (found.verdict, found.reason)
    assert ends["eth0"] == (Verdict.DELIVERED, "")
    assert ends["eth1"] == (Verdict.DROPPED, f"vpc:node1-eth0 is not {mac(plan, 'node2', 'eth1')}")


def test_an_address_of_another_subnet_is_not_answered_for() -> None:
    plan = shipped.plan(ZONES)
    _, address = pod_on(ZONES, "node2", "eth0")
    node = plan.netns["node1"]
    onlink = replace(next(each for each in node.routes if each.dst.prefixlen == 0), via=None, scope="link")
    routes = tuple(onlink if each.dst.prefixlen == 0 else each for each in node.routes)
    asking = replace(plan, netns={**plan.netns, "node1": replace(node, routes=routes)})
    assert path(asking, "default.client", address).forward.reason == f"nobody answers ARP for {address} on node1:eth0"


def test_an_address_nobody_has_is_not_answered_for() -> None:
    found = path(shipped.plan(PLAIN), "default.client", "10.0.3.3").forward
    assert found.reason == "nobody answers ARP for 10.0.3.3 on node1:eth0"


def test_what_a_node_sends_to_an_address_of_the_vpc_by_the_gateway_ends_in_the_blackhole() -> None:
    found = path(shipped.plan(PLAIN), "default.client", "10.0.200.1").forward
    assert places(found.hops)[-1] == "in vpc:node1-eth0"
    assert found.reason == "vpc: blackhole 10.0.0.0/16"


@pytest.mark.parametrize("dev", ["eth0", "eth1"])
def test_what_leaves_the_vpc_goes_by_eth0_with_the_nodes_address(dev: str) -> None:
    plan = shipped.plan(ENIS)
    netns, address = pod_on(ENIS, "node1", dev)
    found = path(plan, netns, INTERNET)
    seen = {str(hop.point): str(hop.inner.src) for hop in found.forward.hops}
    assert [seen[point] for point in ("node1:eth0", "vpc:node1-eth0", "vpc:igw", "internet:eth0")] == [
        "10.0.0.11", "10.0.0.11", INTERNET_SEES, INTERNET_SEES
    ]  # fmt: skip
    assert found.reply is not None
    assert (found.reply.verdict, str(found.reply.hops[-1].inner.dst)) == (Verdict.DELIVERED, address)


def test_without_the_rule_for_the_mark_it_goes_by_its_own_eni_and_is_dropped_there() -> None:
    """SNAT has given it an address of eth0's."""
    plan = without_rule(shipped.plan(ENIS), "node1", aws_vpc.TO_MAIN)
    found = path(plan, pod_on(ENIS, "node1", "eth1")[0], INTERNET).forward
    assert (found.verdict, places(found.hops)[-1]) == (Verdict.DROPPED, "in vpc:node1-eth1")


def test_with_snat_left_to_others_a_pods_packet_ends_at_the_internet_gateway() -> None:
    cluster = shipped.cluster(PLAIN)
    cni = replace(cluster.topology.cni, options={"external_snat": True})
    plan = planners.build(replace(cluster, topology=replace(cluster.topology, cni=cni)))
    found = path(plan, "default.client", INTERNET).forward
    assert "source has no public address" in found.reason
    assert path(plan, "node1", INTERNET).forward.verdict is Verdict.DELIVERED


def test_subnets_are_joined_by_the_vpc_and_prefixes_are_lines_of_its_table() -> None:
    plan = shipped.plan(ZONES)
    shown = [render.route(route) for route in plan.netns["vpc"].routes]
    assert "10.0.1.0/28 via 10.0.0.11 dev node1-eth0" in shown
    assert "10.0.18.0/28 via 10.0.16.12 dev node2-eth0" in shown
    _, address = pod_on(ZONES, "node2", "eth0")
    found = path(plan, "default.client", address)
    assert found.reply is not None and found.reply.verdict is Verdict.DELIVERED
    routes = [cause.text for hop in found.forward.hops for cause in hop.causes if cause.kind is CauseKind.ROUTE]
    assert routes[0] == "default via 10.0.0.1 dev eth0"


def test_a_fabric_of_kind_vpc_under_another_mode_drops_pod_addresses_and_passes_tunnels() -> None:
    def built(mode: str) -> Cluster:
        cluster = shipped.cluster(f"two-node-{mode}")
        fabric = replace(cluster.topology.fabric, kind="vpc")
        topology = replace(cluster.topology, fabric=fabric)
        made = {node.name: node for node in nodes(topology)}
        kept = tuple(replace(node, public_address=made[node.name].public_address) for node in cluster.nodes)
        return replace(cluster, topology=topology, nodes=kept, routers=routers(topology))

    for mode, verdict in (("calico-bgp", Verdict.DROPPED), ("calico-vxlan", Verdict.DELIVERED)):
        plan = planners.build(built(mode))
        address = str(
            next(pod for pod in shipped.cluster(f"two-node-{mode}").pods if pod.name == "client2").addresses[0]
        )
        assert path(plan, "default.client", address).forward.verdict is verdict


def test_a_pod_more_attaches_an_eni_and_changes_nothing_of_the_others() -> None:
    cluster = shipped.cluster(PLAIN)
    node = cluster.nodes[0]
    less = replace(cluster, nodes=(replace(node, uplinks=node.uplinks[:1]), *cluster.nodes[1:]))
    changes = diff(planners.build(less), planners.build(cluster))
    assert {change.name for change in changes.netns} == {"vpc", "node1"}
    assert not any(change.removed for change in changes.netns)
    links = [(change.name, value.name) for change in changes.netns for value in change.added if isinstance(value, Link)]
    assert sorted(links) == [("node1", "eth1"), ("vpc", "node1-eth1")]


# --- what a topology may say


def refused(body: str) -> str:
    nodes = "" if body.startswith("nodes:") else "nodes: 2\n"
    file = f"name: lab\n{nodes}{body}\n"
    with pytest.raises(InputError) as error:
        topologyfile.parse(file, "t.yaml", planners.check)
    return str(error.value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("cni: {mode: aws-vpc, options: {instance_type: t3.medum}}", "did you mean t3.medium"),
        ("cni: {mode: aws-vpc, options: {warm_eni_target: 99}}", "warm_eni_target is 99, must be 0-15"),
        ("cni: {mode: aws-vpc, options: {external_snat: 1}}", "external_snat is 1, must be true or false"),
        ("cni: {mode: aws-vpc, options: {exclude_snat_cidrs: 10.1.0.0/16}}", "must be a list of ranges"),
        ("cni: {mode: aws-vpc, options: {randomize_snat: dice}}", "must be one of prng, hashrandom, none"),
        ("cni: {mode: aws-vpc, options: {instance: x}}", "unknown option instance; did you mean instance_type"),
        ("cni: {mode: aws-vpc, options: {instance_type: t2.small, prefix_delegation: true}}", "takes no prefixes"),
        ("cni: aws-vpc\nfamily: ipv6", "family is ipv6, must be ipv4 with fabric.kind vpc"),
        ("cni: aws-vpc\nfabric: {kind: switches}", "fabric.kind is switches, must be vpc with cni aws-vpc"),
        ("cni: aws-vpc\nfabric: {routers: [{name: r, links: [fabric]}]}", "must not be there with kind vpc"),
        ("cni: aws-vpc\nfabric: {forwards: node-addresses}", "a VPC always forwards by addresses"),
        ("cni: aws-vpc\nranges: {nodes: 192.168.0.0/24}", "must be a subnet of ranges.pods 10.0.0.0/16"),
        ("cni: aws-vpc\nranges: {nodes: 10.0.0.0/29}", "ranges.nodes[0] is 10.0.0.0/29, must be a /16 to /28"),
        ("cni: aws-vpc\nfabric: {mtu: 9100}", "fabric.mtu is 9100, must be 9001 at most in AWS"),
        ("nodes: [{name: a, address: 10.0.0.1}]\ncni: aws-vpc", "is 10.0.0.1, one of the first 4 of 10.0.0.0/20"),
        ("cni: vm\nfabric: {kind: vpc}", "fabric.kind is vpc, and cni vm has one network of Nodes and Pods"),
        ("cni: aws-vpc\nranges: {services: 10.0.0.0/16}", "overlaps"),
    ],
)  # fmt: skip
def test_these_topologies_are_refused(body: str, says: str) -> None:
    assert says in refused(body)


def test_a_topology_is_brought_a_vpc_its_ranges_and_its_mtu() -> None:
    made = topologyfile.parse("name: lab\nnodes: 2\ncni: aws-vpc\n", "t.yaml", planners.check)
    assert (made.fabric.kind, made.fabric.mtu) == ("vpc", 9001)
    assert (made.ranges.nodes, made.ranges.pods) == (("10.0.0.0/20",), ("10.0.0.0/16",))
    assert made.proxy.options == {"detectLocalMode": "None"}
    plain = topologyfile.parse("name: lab\nnodes: 2\ncni: flannel-vxlan\n", "t.yaml", planners.check)
    assert (plain.fabric.kind, plain.fabric.mtu, dict(plain.proxy.options)) == ("switches", 1500, {})
