"""A Swarm's virtual addresses by real IPVS: who answers, which way, what is told when something is broken."""

from __future__ import annotations

import pytest
from inside import cluster_ip, out, wait_until
from labs import Labs
from proving import shell
from stock import TOPOLOGIES, WITHOUT_NF_TABLES, alone, modules

from emu.testbed import facade
from emu.trace.model import CauseKind, TraceResult

pytestmark = [pytest.mark.root, alone]

VIP = TOPOLOGIES / "two-hosts-docker-swarm-vip"
WEB1, WEB2, DB = "10.0.1.2", "10.0.1.3", "10.0.1.6"
FOUR = "for i in 1 2 3 4; do curl -s web | grep name; done"


def drifts(lab: facade.Testbed, repair: bool = False) -> list[str]:
    return [str(each) for each in lab.check(repair=repair)]


def balancer(lab: facade.Testbed, node: str) -> str:
    assert lab.plan is not None
    return next(name for name in lab.plan.netns if name.startswith(f"{node}_lb_"))


def answered(lab: facade.Testbed, client: str) -> list[str]:
    return sorted(line.split()[-1] for line in out(lab, client, FOUR).splitlines())


def chosen(result: TraceResult) -> list[str]:
    """The servers that IPVS has given the request, as the kernel tells it."""
    causes = (cause for hop in result.observed.forward.hops for cause in hop.causes)
    return [cause.effect for cause in causes if cause.kind is CauseKind.IPVS]


def test_a_virtual_address_leads_to_each_task_in_turn_and_what_breaks_it_is_told(testbed: Labs) -> None:
    before = modules()

    def inside(lab: facade.Testbed) -> None:
        assert lab.converge() == () and drifts(lab) == []
        vip = cluster_ip(lab, "web")
        assert out(lab, "client1", "getent hosts web").split() == [vip, "web"]
        assert out(lab, "client1", "getent ahostsv4 tasks.web | cut -d' ' -f1 | sort -u").split() == [WEB1, WEB2]
        assert answered(lab, "client1") == answered(lab, "client2") == ["web1", "web1", "web2", "web2"]
        each_in_turn(lab)
        without_a_task(lab)
        with_a_strange_server(lab, vip)

    testbed(inside, topology=VIP, **WITHOUT_NF_TABLES)
    assert modules() == before


def each_in_turn(lab: facade.Testbed) -> None:
    """One of them is on the client's own host; a task may be given itself."""
    found = set()
    for client in ("client1", "client1", "web1", "web1"):
        result = lab.trace(client, "web:80")
        assert result.ok, result.difference
        (effect,) = chosen(result)
        found.add((client, effect.split()[-1]))
    assert found == {(client, f"{task}:80") for client in ("client1", "web1") for task in (WEB1, WEB2)}


def without_a_task(lab: facade.Testbed) -> None:
    lab.delete([("Pod", "default", "web2")], grace_period_s=0)
    servers = lambda: [str(each.address) for each in lab.plan.netns[balancer(lab, "node1")].real_servers]  # noqa: E731
    wait_until(lambda: servers() == [WEB1], what="the task has left the service")
    assert drifts(lab) == []
    assert "10.0.1.3" not in out(lab, "node1", f"ip netns exec {balancer(lab, 'node1')} ipvsadm -Ln")
    assert answered(lab, "client1") == ["web1"] * 4


def with_a_strange_server(lab: facade.Testbed, vip: str) -> None:
    """Behind the testbed's back: the trace says who was chosen in whose place, the check what is wrong."""
    netns = balancer(lab, "node1")
    (server,) = lab.plan.netns[netns].real_servers  # type: ignore[union-attr]
    mark = server.taken.mark
    shell(lab, netns, f"ipvsadm -a -f {mark} -r {DB}:0 -m; ipvsadm -d -f {mark} -r {WEB1}:0")
    result = lab.trace("client1", "web:80")
    assert not result.ok and result.difference is not None and chosen(result) == [f"destination becomes {DB}:80"]
    assert f"expected dst {WEB1}, got {DB}" in result.difference.what
    told = [
        f"{netns}: IPVS server {WEB1}:0 of FWM  {mark}: missing: -> {WEB1}:0 Masq 1",
        f"{netns}: IPVS server {DB}:0 of FWM  {mark}: not in the plan: -> {DB}:0 Masq 1",
    ]
    assert list(result.drift) == told and drifts(lab, repair=True) == told
    shell(lab, netns, f"ipvsadm -d -f {mark} -r {WEB1}:0")
    result = lab.trace("client1", "web:80")
    assert not result.ok and result.observed.reply is not None
    assert result.observed.reply.hops[-1].inner.note == "unreachable: port"
    assert drifts(lab, repair=True) == told[:1]
    shell(lab, netns, "iptables-legacy -t mangle -F INPUT")
    result = lab.trace("client1", "web:80")  # the balancer's own: nothing listens there
    assert not result.ok and result.observed.reply is not None and chosen(result) == []
    assert len(drifts(lab, repair=True)) == 1
    assert drifts(lab) == [] and lab.trace("client1", "web:80").ok
