"""A Swarm's routing mesh: what a published port leaves on hosts, in ingress_sbox and in tasks, and where it leads."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest
import shipped
from swarm_plans import ingress, rules

from emu import planners
from emu.api import load
from emu.api.published import Port
from emu.cluster.model import Backend, Cluster
from emu.errors import InputError
from emu.plan import render
from emu.plan.model import Plan
from emu.trace.flows import every_path
from emu.trace.model import CauseKind, Flow, Verdict
from emu.trace.model import Path as Way
from emu.trace.predict import predict

FOLDER = "three-hosts-docker-swarm-ports"

#: moby's own, from integration/network/bridge/iptablesdoc/generated/swarm-portmap.md
FILTER = """\
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER-INGRESS -p tcp -m tcp --dport 8080 -j ACCEPT
-A DOCKER-INGRESS -p tcp -m tcp --sport 8080 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-INGRESS -j RETURN
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER ! -i docker_gwbridge -o docker_gwbridge -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-BRIDGE -o docker_gwbridge -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-CT -o docker_gwbridge -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-INGRESS
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-INTERNAL
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-FORWARD -i docker_gwbridge -o docker_gwbridge -j DROP
-A DOCKER-FORWARD -i docker_gwbridge ! -o docker_gwbridge -j ACCEPT
"""
NAT = """\
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER-INGRESS
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER-INGRESS
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -o docker_gwbridge -m addrtype --src-type LOCAL -j MASQUERADE
-A POSTROUTING -s 172.18.0.0/16 ! -o docker_gwbridge -j MASQUERADE
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER-INGRESS -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:8080
-A DOCKER-INGRESS -j RETURN
"""
TASK_NAT = "-A PREROUTING -d 10.0.0.2/32 -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 80\n"
TASK_FILTER = """\
-A INPUT -d 10.0.0.2/32 -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT
-A INPUT -d 10.0.0.2/32 -p sctp -j DROP
-A INPUT -d 10.0.0.2/32 -p udp -j DROP
-A INPUT -d 10.0.0.2/32 -p tcp -j DROP
-A OUTPUT -s 10.0.0.2/32 -p tcp -m tcp --sport 80 -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A OUTPUT -s 10.0.0.2/32 -p sctp -j DROP
-A OUTPUT -s 10.0.0.2/32 -p udp -j DROP
-A OUTPUT -s 10.0.0.2/32 -p tcp -j DROP
"""


@cache
def cluster() -> Cluster:
    return shipped.ready(FOLDER)


@cache
def plan() -> Plan:
    return planners.build(cluster())


def publishing(*ports: Port) -> Plan:
    (own,) = cluster().published
    return planners.build(replace(cluster(), published=(replace(own, ports=ports),)))


def behind(*backends: Backend) -> Plan:
    """With these tasks of the service."""
    others = tuple(each for each in cluster().frontends if each.service != "web")
    (own,) = (each for each in cluster().frontends if each.service == "web")
    return planners.build(replace(cluster(), frontends=(*others, replace(own, backends=backends))))


def backends() -> tuple[Backend, ...]:
    return next(each.backends for each in cluster().frontends if each.service == "web")


def ways(made: Plan, netns: str, address: str, port: int = 8080, proto: str = "tcp") -> tuple[Way, ...]:
    return predict(made, Flow(netns=netns, dst=ip_address(address), proto=proto, dport=port)).paths


def test_a_host_has_the_rules_that_moby_documents_for_a_published_port() -> None:
    node = plan().netns["node3"]
    assert [rules(node, table) for table in ("filter", "nat")] == [FILTER, NAT]
    assert {each.key: each.value for each in node.sysctls}["net.ipv4.conf.docker_gwbridge.route_localnet"] == "1"


def test_each_host_has_an_ingress_sandbox_on_docker_gwbridge_and_in_the_ingress_network() -> None:
    for node, own in (("node1", "10.0.0.254/24"), ("node3", "10.0.0.252/24")):
        sandbox = plan().netns[f"{node}_ingress_sbox"]
        assert [f"{each.dev} {each.address}" for each in sandbox.addresses] == [
            *(f"eth0 {own}", "eth1 172.18.0.2/16", "eth0 10.0.0.167/32"),
        ]
        assert [render.route(each) for each in sandbox.routes] == ["default via 172.18.0.1 dev eth1"]
        assert {link.name: link.mtu for link in sandbox.links} == {"eth0": 1450, "eth1": 1500}
        lines = [render.line("x", each) for each in (*sandbox.virtual_services, *sandbox.real_servers)]
        assert lines == [
            *("ipvsadm -A -f 359 -s rr", "ipvsadm -a -f 359 -r 10.0.0.2:0 -m -w 1"),
            "ipvsadm -a -f 359 -r 10.0.0.3:0 -m -w 1",
        ]


def test_the_sandbox_marks_by_port_and_by_address_and_answers_for_the_tasks() -> None:
    sandbox = plan().netns["node3_ingress_sbox"]
    assert rules(sandbox, "mangle") == (
        "-A PREROUTING -p tcp -m tcp --dport 8080 -j MARK --set-xmark 0x167/0xffffffff\n"
        "-A INPUT -d 10.0.0.167/32 -j MARK --set-xmark 0x167/0xffffffff\n"
    )
    assert rules(sandbox, "nat") == "-A POSTROUTING -d 10.0.0.0/24 -m ipvs --ipvs -j SNAT --to-source 10.0.0.252\n"


def test_the_ingress_network_is_vxlan_4096_on_every_host_and_joins_tasks_and_sandboxes() -> None:
    first, last = ingress(plan(), "node1"), ingress(plan(), "node3")
    assert {link.name for link in first.links} == {"br0", "vxlan0", "veth2", "veth254"}
    assert {link.name for link in last.links} == {"br0", "vxlan0", "veth252"}
    assert {str(each.address) for each in first.neighbors} == {"10.0.0.3", "10.0.0.253", "10.0.0.252"}


def test_only_a_task_of_what_publishes_has_a_link_to_it_and_docker_gwbridge_is_the_last() -> None:
    shown = {
        pod: [f"{each.dev} {each.address}" for each in plan().netns[f"default.{pod}"].addresses]
        for pod in ("web1", "client")
    }
    assert shown == {
        "web1": ["eth0 10.0.1.2/24", "eth2 172.18.0.3/16", "eth1 10.0.0.2/24"],
        "client": ["eth0 10.0.1.4/24", "eth1 172.18.0.5/16"],
    }


def test_in_a_task_the_published_port_becomes_the_target_and_nothing_else_passes_by_that_link() -> None:
    task = plan().netns["default.web1"]
    assert (rules(task, "nat"), rules(task, "filter")) == (TASK_NAT, TASK_FILTER)
    assert plan().netns["default.client"].tables == ()


def test_what_is_published_later_stands_first_where_docker_inserts_and_last_where_it_appends() -> None:
    made = publishing(Port("TCP", 8080, 80), Port("UDP", 5353, 53))
    node, task = made.netns["node1"], made.netns["default.web1"]
    assert [line.split(" --dport ")[1].split()[0] for line in rules(node, "nat").splitlines() if "DNAT" in line] == [
        *("5353", "8080"),
    ]
    redirects = [line for line in rules(task, "nat").splitlines() if "REDIRECT" in line]
    assert redirects == [
        TASK_NAT.rstrip(),
        "-A PREROUTING -d 10.0.0.2/32 -p udp -m udp --dport 5353 -j REDIRECT --to-ports 53",
    ]
    assert "--dport 53 " in rules(task, "filter").splitlines()[0]


@pytest.mark.parametrize(
    ("netns", "address"),
    [
        ("node1", "192.168.100.13"),  # from outside, to a host without a task
        ("node3", "192.168.100.13"),  # the host itself
        ("node3", "127.0.0.1"),
        ("default.client", "192.168.100.13"),  # a container of that host
        ("default.client", "192.168.100.12"),
        ("default.web1", "192.168.100.11"),  # a task, by its own service
    ],
)
def test_every_hosts_port_leads_to_each_task_from_everywhere(netns: str, address: str) -> None:
    found = ways(plan(), netns, address)
    assert {(way.forward.hops[-1].point.netns, way.forward.probability) for way in found} == {
        ("default.web1", 0.5),
        ("default.web2", 0.5),
    }
    for way in found:
        assert way.forward.verdict is Verdict.DELIVERED and way.reply is not None
        assert way.reply.verdict is Verdict.DELIVERED and way.reply.hops[-1].inner.note == "SYN-ACK"
        assert str(way.forward.hops[-1].inner.src).startswith("10.0.0.25")  # the sandbox's: the asker's is lost
        last = [cause.text for cause in way.forward.hops[-1].causes if cause.kind is CauseKind.RULE]
        assert last[0].endswith("-j REDIRECT --to-ports 80")


def test_a_task_is_not_reached_by_its_target_port_nor_by_ingress_past_its_rules() -> None:
    (way,) = ways(plan(), "node3_ingress_sbox", "10.0.0.2", 80)
    assert way.forward.verdict is Verdict.DELIVERED  # the rule for what was redirected lets it pass, in reality too
    (way,) = ways(plan(), "node3_ingress_sbox", "10.0.0.2", 22)
    assert way.forward.verdict is Verdict.DROPPED
    assert "-A INPUT -d 10.0.0.2/32 -p tcp -j DROP" in way.forward.reason


def test_without_a_task_no_rule_leads_there_and_the_host_refuses() -> None:
    made = behind()
    assert "DOCKER-INGRESS" not in rules(made.netns["node1"], "nat") + rules(made.netns["node1"], "filter")
    assert made.netns["node1_ingress_sbox"].virtual_services == ()
    assert {way.forward.hops[-1].point.netns for way in ways(made, "node1", "192.168.100.13")} == {"node3"}


def test_a_task_that_is_not_ready_has_its_link_and_gets_nothing() -> None:
    first, second = backends()
    made = behind(replace(first, ready=False, serving=False), second)
    assert {way.forward.hops[-1].point.netns for way in ways(made, "node1", "192.168.100.13")} == {"default.web2"}
    assert "eth1" in {link.name for link in made.netns["default.web1"].links}


def test_when_all_tasks_are_to_end_ipvs_refuses() -> None:
    made = behind(*(replace(each, ready=False, serving=True, terminating=True) for each in backends()))
    (way,) = ways(made, "node1", "192.168.100.13")
    assert "IPVS has no server for FWM  359 rr" in way.forward.reason
    assert way.reply is not None and way.reply.hops[-1].inner.note == "unreachable: port"


def test_verify_asks_a_host_without_a_task() -> None:
    labels = [flow.label for flow in every_path(cluster(), plan())]
    assert "Node to a Service's port, other Node: node1 → node3:8080 of default/web" in labels
    assert "Node to a Service's port, its own: node3 → node3:8080 of default/web" in labels
    assert "Pod to its own Service's port: default/web1 → node3:8080 of default/web" in labels


@pytest.mark.parametrize(
    ("options", "rest", "wrong"),
    [
        ("vni: 4096", "", "vni is 4096, which is the ingress network's"),
        ("ingress: 10.0.0.0", "", "must be as large as"),
        ("ingress: 10.0.0.0/25", "", "must be as large as 10.0.1.0/24"),
        ("ingress: 10.0.0.5/24", "", "must be a range as 10.0.0.0/24"),
        ("ingress: 10.0.0.0/16", "", "is 10.0.0.0/16, which overlaps the network's 10.0.1.0/24"),
        ("ingress: 172.18.8.0/24", "", "overlaps docker_gwbridge's 172.18.0.0/16"),
        ("ingres: 10.0.0.0/24", "", "unknown option ingres; did you mean ingress"),
        ("mtu: 1500", "ranges: {nodes: 10.0.0.0/24}\n", "is 10.0.0.0/24, which overlaps ranges.nodes"),
    ],
)
def test_an_ingress_network_that_cannot_be_is_refused(tmp_path: Path, options: str, rest: str, wrong: str) -> None:
    mode = f"cni: {{mode: docker-swarm, options: {{endpoint_mode: vip, {options}}}}}"
    (tmp_path / "topology.yaml").write_text(f"name: a\nnodes: 2\n{mode}\n{rest}")
    with pytest.raises(InputError, match=wrong):
        load.topology(tmp_path, planners.check)
