"""The comparison can fail: something is broken behind the testbed's back, the trace says where the packet left the
predicted path, the drift says what was broken, the repair mends it.

Every case runs in one lab of its group, one after the other: what a repair leaves behind fails the next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
from proving import impatient, inside, shell, spelled

from emu.testbed.facade import Testbed

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Case:
    """`command` breaks something in `where`; `source` is traced to `target`. `says`: how the difference begins;
    `drift`: the beginnings of what `check` lists, without the netns. {words} are those of `proving.spelled`."""

    name: str
    where: str
    command: str
    says: str
    drift: tuple[str, ...]
    source: str = "client"
    target: str = "nginx-svc"
    program: str = ""
    elsewhere: str = ""  # the netns where the drift is, if not `where`


ROUTE = "route 10.244.2.0/24: "
NO_TUNNEL = "forward hop 4: expected to leave node1 through flannel.1 (10.244.1.3 → {nginx_ip}:80), but the packet was "
LOST = NO_TUNNEL + "last seen at node1:cni0"
RULE = "iptables -t nat, chain {sep}: "
DNAT = "-A {sep} -p tcp"
REPLACE = "iptables -t nat -R {sep} 2 -p tcp -j DNAT --to-destination"
PING = "ping -c1 -W1 -M do -s 1380 {nginx_ip}"

ROUTING = (
    Case("route deleted", "node1", "ip route del 10.244.2.0/24", LOST, (ROUTE + "missing",)),
    Case("route back deleted", "node2", "ip route del 10.244.1.0/24", "reply hop 4: expected to leave node2 through flannel.1", ("route 10.244.1.0/24: missing",)),
    Case("route by another device", "node1", "ip route replace 10.244.2.0/24 via 192.168.100.12 dev eth0 onlink", NO_TUNNEL.replace("the packet was ", "it was seen to leave node1 through eth0"), (ROUTE + "wanted 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink, got 10.244.2.0/24 via 192.168.100.12 dev eth0",)),
    Case("blackhole", "node1", "ip route replace blackhole 10.244.2.0/24", LOST, (ROUTE + "wanted .*, got blackhole 10.244.2.0/24",)),
    Case("policy routing", "node1", "ip rule add to 10.244.2.0/24 priority 100 blackhole", LOST, ("ip rule 100: not in the plan",)),
    Case("route of cni0 deleted", "node2", "ip route del 10.244.2.0/24 dev cni0", "forward hop 10: expected to leave node2 through cni0", (ROUTE + "missing: 10.244.2.0/24 dev cni0 proto kernel",)),
    Case("routes of a Pod deleted", "default.client", "ip route flush all", "forward hop 1: expected to leave default/client through eth0 .* but no packet was seen", ("route 10.244.1.0/24: missing", "route 0.0.0.0/0: missing", "route 10.244.0.0/16: missing")),
    Case("FDB entry deleted", "node1", "bridge fdb del {vtep2} dev flannel.1", "forward hop 5: expected to leave node1 through eth0 .*VXLAN to 192.168.100.12.*last seen at node1:flannel.1", ("FDB entry {vtep2} dev flannel.1: missing",)),
    Case("FDB entry for another Node", "node1", "bridge fdb replace {vtep2} dev flannel.1 dst 192.168.100.77", "forward hop 5: expected to leave node1 through eth0", ("FDB entry {vtep2} dev flannel.1: wanted .* dst 192.168.100.12 .*, got .* dst 192.168.100.77",)),
    Case("neighbor deleted", "node1", "ip neigh del 10.244.2.0 dev flannel.1", LOST, ("neighbor 10.244.2.0 dev flannel.1: missing",)),
    Case("neighbor with another MAC", "node1", "ip neigh replace 10.244.2.0 dev flannel.1 lladdr 02:00:00:00:00:77 nud permanent", "forward hop 4: at node1:flannel.1: expected destination MAC {vtep2}, got 02:00:00:00:00:77", ("neighbor 10.244.2.0 dev flannel.1: wanted",)),
    Case("forwarding off", "node1", "sysctl -qw net.ipv4.ip_forward=0", LOST, ("sysctl net.ipv4.ip_forward: wanted 1, got 0",)),
)  # fmt: skip
RULES = (
    Case("bridged frames not filtered", "node2", "sysctl -qw net.bridge.bridge-nf-call-iptables=0", "forward hop 3: expected to leave node2 through {nginx_veth} .*, but it was seen to enter node2 through cni0", ("sysctl net.bridge.bridge-nf-call-iptables: wanted 1, got 0",), source="client2"),
    Case("DNAT to another Pod", "node1", REPLACE + " 10.244.2.5:8080", "forward hop 3: at node1:cni0: expected dst {nginx_ip}, got 10.244.2.5; expected dport 80, got 8080", (RULE + f".*{{nginx_ip}}:80, got {DNAT}.*10.244.2.5:8080",)),
    Case("DNAT to nobody", "node1", REPLACE + " 10.244.2.77:80", "forward hop 3: at node1:cni0: expected dst {nginx_ip}, got 10.244.2.77", (RULE + "wanted",)),
    Case("DNAT deleted", "node1", "iptables -t nat -D {sep} 2", "forward hop 3: at node1:cni0: expected dst {nginx_ip}, got 10.", (RULE + f"missing: {DNAT}",)),
    Case("Services flushed", "node1", "iptables -t nat -F KUBE-SERVICES", "forward hop 3: at node1:cni0: expected dst {nginx_ip}, got 10.", ("iptables -t nat, chain KUBE-SERVICES: missing",) * 8),
    Case("a hairpin not masqueraded", "node2", "iptables -t nat -D {sep} 1", "forward hop 3: at node2:{nginx_veth}: expected src 10.244.2.1, got {nginx_ip}", (RULE + "missing: -A {sep} -s {nginx_ip}/32 .*-j KUBE-MARK-MASQ",), source="{nginx}"),
    Case("forwarding refused", "node1", "iptables -D FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD; iptables -P FORWARD DROP", LOST, ("iptables -t filter, chain FORWARD: wanted :FORWARD ACCEPT, got :FORWARD DROP", "iptables -t filter, chain FORWARD: missing: .*-j FLANNEL-FWD")),
    Case("somebody's DROP", "node2", "iptables -I FORWARD -d {nginx_ip} -j DROP", "forward hop 10: expected to leave node2 through cni0 .*last seen at node2:flannel.1", ("iptables -t filter, chain FORWARD: not in the plan: -A FORWARD -d {nginx_ip}/32 -j DROP",)),
)  # fmt: skip
LINKS = (
    Case("a Pod's link taken off cni0", "node2", "ip link set {nginx_veth} nomaster", "forward hop 11: expected to leave node2 through {nginx_veth}", ("link {nginx_veth}: wanted master cni0, hairpin on, got no master, hairpin off",)),
    Case("a Pod's link down", "node2", "ip link set {nginx_veth} down", "forward hop 11: expected to leave node2 through {nginx_veth}", ("link {nginx_veth}: wanted up, got down",)),
    Case("a Pod's link deleted", "node2", "ip link del {nginx_veth}", "forward hop 11: expected to leave node2 through {nginx_veth}", ("link {nginx_veth}: missing", "link eth0: missing"), elsewhere="node2 {nginx_netns}"),
    Case("hairpin off", "node2", "bridge link set dev {nginx_veth} hairpin off", "forward hop 3: expected to leave node2 through {nginx_veth} .*last seen at node2:{nginx_veth}", ("link {nginx_veth}: wanted hairpin on, got hairpin off",), source="{nginx}"),
    Case("uplink down", "node2", "ip link set eth0 down", "forward hop 7: expected to leave fabric through fabric-node2", ("link eth0: wanted up, got down",)),
    Case("switch port down", "fabric", "ip link set fabric-node2 down", "forward hop 7: expected to leave fabric through fabric-node2 .*last seen at fabric:fabric-node1", ("link fabric-node2: wanted up, got down",)),
    Case("address of cni0 deleted", "node2", "ip address del 10.244.2.1/24 dev cni0", "forward hop 10: expected to leave node2 through cni0", ("address 10.244.2.1/24: missing",)),
    Case("address of the client's cni0 deleted", "node1", "ip address del 10.244.1.1/24 dev cni0", "(forward hop 1|reply hop 10): expected to leave", ("address 10.244.1.1/24: missing",)),
    Case("a Pod's address changed", "{nginx_netns}", "ip address del {nginx_ip}/24 dev eth0; ip address add 10.244.2.99/24 dev eth0", "reply hop 1: expected to leave default/{nginx} through eth0", ("address {nginx_ip}/24: missing", "route 0.0.0.0/0: missing", "route 10.244.0.0/16: missing", "address 10.244.2.99/24: not in the plan")),
    Case("tunnel deleted", "node2", "ip link del flannel.1", "forward hop 9: expected to enter node2 through flannel.1 .*last seen at node2:eth0", ("link flannel.1: missing",)),
    Case("tunnel with another MAC", "node2", "ip link set flannel.1 address 02:00:00:00:00:99", "forward hop 10: expected to leave node2 through cni0 .*last seen at node2:flannel.1", ("link flannel.1: wanted address {vtep2}, got address 02:00:00:00:00:99", "neighbor 10.244.1.0 dev flannel.1: missing")),
    Case("uplink's MTU too small", "node1", "ip link set eth0 mtu 1400", "forward hop 5: expected to leave node1 through eth0", ("link eth0: wanted mtu 1500, got mtu 1400",), target="{nginx}", program=PING),
)  # fmt: skip
GROUPS = {"routing": ROUTING, "rules": RULES, "links": LINKS}


@dataclass(frozen=True)
class Outcome:
    words: dict[str, str]
    before: str
    broken: str
    drift_told: tuple[str, ...]
    drift_checked: tuple[str, ...]
    left: tuple[str, ...]
    after: str


def _break(lab: Testbed, case: Case) -> Outcome:
    words = spelled(lab)
    source, target = case.source.format(**words), case.target.format(**words)
    command = case.program.format(**words).split()

    def difference() -> str:
        result = lab.trace(source, target, command)
        return "" if result.ok else str(result.difference and result.difference.what)

    before = difference()
    shell(lab, case.where.format(**words), case.command.format(**words))
    broken = lab.trace(source, target, command)
    checked = tuple(str(each) for each in lab.check(repair=True))
    left = tuple(str(each) for each in lab.check())
    said = broken.difference.what if broken.difference else ""
    return Outcome(words, before, said, broken.drift, checked, left, difference())


def _run_group(name: str) -> dict[str, Outcome]:
    def run(lab: Testbed) -> dict[str, Outcome]:
        impatient()
        return {case.name: _break(lab, case) for case in GROUPS[name]}

    return inside(run)  # type: ignore[no-any-return]


_outcomes: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("group", "case"),
    [(g, c) for g, cases in GROUPS.items() for c in cases],
    ids=lambda each: getattr(each, "name", each),
)
def test_a_breakage_is_seen_named_and_mended(group: str, case: Case) -> None:
    if group not in _outcomes:
        _outcomes[group] = _run_group(group)
    outcome: Outcome = _outcomes[group][case.name]
    assert outcome.before == "", "the lab was not as predicted before"
    assert _begins(case.says, outcome.broken, outcome.words)
    places = (case.elsewhere or case.where).format(**outcome.words).split()
    wanted = [f"{places[min(at, len(places) - 1)]}: {text}" for at, text in enumerate(case.drift)]
    assert len(outcome.drift_checked) == len(wanted), outcome.drift_checked
    assert [t for t, d in zip(wanted, outcome.drift_checked, strict=True) if not _begins(t, d, outcome.words)] == []
    assert outcome.drift_told == outcome.drift_checked, "the trace names the same drift as check"
    assert outcome.left == (), "check finds something after the repair"
    assert outcome.after == "", "the path is not the predicted one after the repair"


def _begins(pattern: str, text: str, words: dict[str, str]) -> bool:
    """Does the text begin so? `.*` stands for anything."""
    wanted = ".*".join(re.escape(part.format(**words)) for part in pattern.split(".*"))
    if pattern.startswith("("):  # alternatives, to be read as they are
        wanted = pattern
    return re.match(wanted, text) is not None
