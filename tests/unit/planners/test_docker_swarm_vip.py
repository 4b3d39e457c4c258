"""A Swarm's virtual addresses: the balancer on each host, its rules and servers, and where packets go."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import ip_address
from pathlib import Path

import pytest
import shipped
from swarm_plans import network, rules, send

from emu import planners
from emu.api import load
from emu.cluster.model import Cluster
from emu.errors import InputError
from emu.plan import render
from emu.plan.model import NetnsPlan, Plan
from emu.trace.compare import compare
from emu.trace.flows import every_path
from emu.trace.model import Cause, CauseKind, Flow, Hop, Verdict
from emu.trace.model import Path as Way
from emu.trace.predict import predict

FOLDER = "two-hosts-docker-swarm-vip"
VIP, MARK = "10.0.1.167", 0x127


@cache
def cluster() -> Cluster:
    return shipped.ready(FOLDER)


@cache
def plan() -> Plan:
    return planners.build(cluster())


def balancer(made: Plan, node: str) -> NetnsPlan:
    (found,) = (each for name, each in made.netns.items() if name.startswith(f"{node}_lb_"))
    return found


def changed(**fields: object) -> Plan:
    """With another balancer on node1."""
    own = balancer(plan(), "node1")
    return replace(plan(), netns={**plan().netns, own.name: replace(own, **fields)})


def ways(made: Plan, source: str, port: int = 80, proto: str = "tcp") -> tuple[Way, ...]:
    flow = Flow(netns=f"default.{source}", dst=ip_address(VIP), proto=proto, dport=port)
    return predict(made, flow).paths


def ends(found: tuple[Way, ...]) -> dict[str, float]:
    return {str(way.forward.hops[-1].inner.dst): way.forward.probability for way in found}


def test_each_host_of_the_network_has_a_balancer_with_all_tasks_behind_each_mark() -> None:
    for node, own in (("node1", "10.0.1.254/24"), ("node2", "10.0.1.253/24")):
        netns = balancer(plan(), node)
        assert [str(each.address) for each in netns.addresses] == [own, f"{VIP}/32"]
        lines = [render.line(netns.name, each) for each in (*netns.virtual_services, *netns.real_servers)]
        assert lines == [
            f"ipvsadm -A -f {MARK} -s rr",
            f"ipvsadm -a -f {MARK} -r 10.0.1.2:0 -m -w 1",
            f"ipvsadm -a -f {MARK} -r 10.0.1.3:0 -m -w 1",
        ]


def test_a_balancer_marks_what_is_for_a_virtual_address_and_answers_for_it_by_itself() -> None:
    netns = balancer(plan(), "node1")
    assert rules(netns, "mangle") == f"-A INPUT -d {VIP}/32 -j MARK --set-xmark {MARK:#x}/0xffffffff\n"
    assert rules(netns, "nat") == "-A POSTROUTING -d 10.0.1.0/24 -m ipvs --ipvs -j SNAT --to-source 10.0.1.254\n"
    sysctls = {each.key: each.value for each in netns.sysctls}
    assert sysctls["net.ipv4.vs.conntrack"] == sysctls["net.ipv4.ip_forward"] == "1"


def test_the_others_know_where_a_balancer_is_and_its_own_host_has_it_on_the_bridge() -> None:
    first = network(plan(), "node1")
    assert "02:42:0a:00:01:fd dev vxlan0 dst 192.168.100.12 self permanent" in {render.fdb(each) for each in first.fdb}
    assert [link.peer for link in first.links if link.name == "veth254"] == [(balancer(plan(), "node1").name, "eth0")]
    assert VIP not in {str(each.address) for each in first.neighbors}  # no host answers for it to another


def test_a_name_is_the_virtual_address_tasks_are_the_containers_and_dnsrr_is_said_by_each_service() -> None:
    names = dict(plan().zone.embedded)
    assert names["web"] == (VIP,)
    assert set(names["tasks.web"]) == set(names["web-dnsrr"]) == {"10.0.1.2", "10.0.1.3"}


def test_half_of_the_connections_go_to_each_task_with_the_balancers_address() -> None:
    found = ways(plan(), "client1")
    assert ends(found) == {"10.0.1.2": 0.5, "10.0.1.3": 0.5}
    for way in found:
        assert str(way.forward.hops[-1].inner.src) == "10.0.1.254" and way.forward.verdict is Verdict.DELIVERED
        assert way.reply is not None and str(way.reply.hops[-1].inner.src) == VIP
    assert set(ends(ways(plan(), "web1"))) == {"10.0.1.2", "10.0.1.3"}  # itself too


def test_one_that_is_to_end_gets_no_new_connection_and_without_any_the_sender_is_told() -> None:
    first, second = balancer(plan(), "node1").real_servers
    assert ends(ways(changed(real_servers=(replace(first, weight=0), second)), "client1")) == {"10.0.1.3": 1.0}
    (way,) = ways(changed(real_servers=()), "client1")
    assert way.forward.verdict is Verdict.DELIVERED and "IPVS has no server for FWM  295 rr" in way.forward.reason
    assert way.reply is not None and way.reply.hops[-1].inner.note == "unreachable: port"


def test_a_task_that_is_to_end_has_weight_0_and_one_that_is_not_ready_is_none() -> None:
    (frontend,) = (each for each in cluster().frontends if each.service == "web")
    first, second = frontend.backends
    ending = replace(first, ready=False, serving=True, terminating=True)
    starting = replace(second, ready=False, serving=False)
    others = tuple(each for each in cluster().frontends if each is not frontend)
    made = planners.build(replace(cluster(), frontends=(*others, replace(frontend, backends=(ending, starting)))))
    assert [str(each) for each in balancer(made, "node1").real_servers] == [f"-> {first.address}:0 Masq 0"]
    none = planners.build(replace(cluster(), frontends=(*others, replace(frontend, backends=(starting,)))))
    assert balancer(none, "node1").virtual_services == () and balancer(none, "node1").tables == ()


def test_a_ping_is_the_balancers_own() -> None:
    (way,) = ways(plan(), "client1", 0, "icmp")
    assert way.forward.hops[-1].point.netns == balancer(plan(), "node1").name and way.reply is not None


def test_without_its_mark_a_packet_is_the_balancers_own() -> None:
    tables = tuple(each for each in balancer(plan(), "node1").tables if each.name != "mangle")
    assert {way.forward.hops[-1].point.netns for way in ways(changed(tables=tables), "client1")} == {
        balancer(plan(), "node1").name
    }


def test_that_ipvs_has_chosen_as_predicted_is_compared() -> None:
    flow = Flow(netns="default.client1", dst=ip_address(VIP), proto="tcp", dport=80)
    prediction = predict(plan(), flow)
    for index, way in enumerate(prediction.paths):
        assert compare(prediction, way, plan().netns.keys()) == (index, None)
    silent = replace(way, forward=replace(way.forward, hops=tuple(map(without_choice, way.forward.hops))))
    matched, difference = compare(prediction, silent, plan().netns.keys())
    assert matched is None and difference is not None
    assert "IPVS did not choose as expected: FWM  295 rr -> 10.0.1." in difference.what


def without_choice(hop: Hop) -> Hop:
    kept: tuple[Cause, ...] = tuple(cause for cause in hop.causes if cause.kind is not CauseKind.IPVS)
    return replace(hop, causes=kept)


def test_verify_asks_a_service_by_its_virtual_address() -> None:
    labels = [flow.label for flow in every_path(cluster(), plan())]
    assert "Pod to Service: default/client1 → default/web:80 (10.0.1.167)" in labels


def test_containers_of_the_same_network_reach_each_other_as_before() -> None:
    assert send(plan(), "client1", "10.0.1.6").forward.verdict is Verdict.DELIVERED


@pytest.mark.parametrize(
    ("ranges", "wrong"),
    [
        ("{services: 10.96.0.0/12}", "must stand behind ranges.pods 10.0.1.0/25 in one network"),
        ("{pods: 10.0.1.128/25, services: 10.0.1.0/25}", "must stand behind ranges.pods 10.0.1.128/25"),
        ("{services: 10.0.1.128/25}", "10.0.1.254 is that of a Node's load balancer: the last 2 of 10.0.1.0/24 are"),
    ],
)
def test_ranges_that_leave_a_balancer_no_address_are_refused(tmp_path: Path, ranges: str, wrong: str) -> None:
    mode = "cni: {mode: docker-swarm, options: {endpoint_mode: vip}}"
    (tmp_path / "topology.yaml").write_text(f"name: a\nnodes: 2\n{mode}\nranges: {ranges}\n")
    with pytest.raises(InputError, match=wrong):
        load.topology(tmp_path, planners.check)
