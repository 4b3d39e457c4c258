"""The AWS VPC CNI in running labs: every path, what the VPC drops, ENIs that come with Pods, answers by eth0."""

from __future__ import annotations

import os
from pathlib import Path

import machine
import pytest
from labs import TWO_NODES, Labs
from proving import impatient, inside, shell

from emu.kernel import process
from emu.report.text import trace_text
from emu.testbed.facade import Testbed
from emu.trace.model import TraceResult, Verdict
from tests.kernel import leaks

pytestmark = pytest.mark.root

FOLDERS = TWO_NODES.parent
PLAIN, ENIS, ZONES = (
    FOLDERS / name for name in ("two-node-aws-vpc", "two-node-aws-vpc-secondary-enis", "two-zones-aws-vpc-prefixes")
)
FROM_ETH1 = "10.0.1.5"  # of node1's eth1, where the fourth Pod is


def verified(lab: Testbed) -> tuple[list[str], set[str]]:
    assert [str(each) for each in lab.check()] == []
    results = lab.verify()
    return [trace_text(each, color=False) for each in results if not each.ok], {_kind(each) for each in results}


def _kind(result: TraceResult) -> str:
    return result.flow.label.partition(":")[0]


def test_every_path_is_as_predicted_from_eth0_and_from_eth1(testbed: Labs) -> None:
    wrong, kinds = testbed(verified, topology=ENIS)
    assert wrong == []
    assert kinds >= {
        "Pod to Pod, same Node",
        "Pod to Pod, other Node",
        "Pod to Service",
        "Pod of eth1 to Pod, other Node",
        "Pod to Pod of eth1, other Node",
        "Pod of eth0 to the internet",
        "Pod of eth1 to the internet",
        "the internet to a Node",
    }


def test_every_path_is_as_predicted_between_subnets_with_prefixes(testbed: Labs) -> None:
    assert testbed(verified, topology=ZONES)[0] == []


def test_every_path_is_as_predicted_with_legacy_iptables(testbed: Labs) -> None:
    assert testbed(verified, topology=PLAIN, iptables="legacy")[0] == []


def test_another_mode_in_a_vpc_is_as_predicted_and_what_it_sends_with_pod_addresses_is_dropped() -> None:
    def proved(lab: Testbed) -> tuple[list[str], dict[str, Verdict]]:
        impatient()
        results = lab.verify()
        ends = {_kind(each): each.observed.forward.verdict for each in results}
        return [trace_text(each, color=False) for each in results if not each.ok], ends

    wrong, ends = inside(proved, cni="calico-bgp", fabric="{kind: vpc}")
    assert wrong == []
    assert ends["Pod to Pod, same Node"] is ends["Pod to the internet"] is Verdict.DELIVERED
    assert ends["Pod to Pod, other Node"] is Verdict.DROPPED


def status(lab: Testbed, netns: str, command: str) -> int:
    return process.run(["sh", "-c", command], ns=lab.host.netns(netns), check=False).code


def dropped_as_spoofed(lab: Testbed) -> int:
    argv = ["iptables", "-t", "raw", "-vxnL", "PREROUTING"]
    lines = process.run(argv, ns=lab.host.netns("vpc")).stdout.splitlines()
    return int(next(line for line in lines if "source is not assigned" in line).split()[0])


def test_the_vpc_drops_what_an_eni_sends_with_an_address_it_has_not_been_given(testbed: Labs) -> None:
    """One that nobody has, and one of another Node's Pods. That of a Pod of the same Node leaves by the ENI that has it
    and passes: the VPC knows ENIs and not Pods, and the answer goes to whose it is."""

    def spoofing(lab: Testbed) -> list[tuple[str, bool, int]]:
        found = []
        for address in ("10.0.1.99", "10.0.2.1", FROM_ETH1):
            before = dropped_as_spoofed(lab)
            shell(lab, "default.client", f"ip address add {address}/32 dev eth0")
            answered = status(lab, "default.client", f"ping -c1 -W1 -I {address} 10.0.2.2") == 0
            shell(lab, "default.client", f"ip address del {address}/32 dev eth0")
            found.append((address, answered, dropped_as_spoofed(lab) - before))
        assert lab.check() == ()
        return found

    assert testbed(spoofing, topology=ENIS) == [
        ("10.0.1.99", False, 1),
        ("10.0.2.1", False, 1),
        (FROM_ETH1, False, 0),
    ]


def test_an_answer_to_what_came_by_eth0_leaves_by_eth0_because_of_the_mark(testbed: Labs) -> None:
    """A port of the Node that leads to a Pod of eth1, as a NodePort with externalTrafficPolicy Local does."""
    ask = "curl -s -m 1 http://198.51.100.11:30080/clientip"
    published = f"-i eth0 -p tcp --dport 30080 -j DNAT --to-destination {FROM_ETH1}:8080"

    def asking(lab: Testbed) -> tuple[int, int, int, list[str], int]:
        shell(lab, "node1", f"iptables -t nat -I PREROUTING {published}")
        with_mark, before = status(lab, "internet", ask), dropped_as_spoofed(lab)
        shell(lab, "node1", "iptables -t mangle -D PREROUTING 1")
        without, lost = status(lab, "internet", ask), dropped_as_spoofed(lab) - before
        drifts = [str(each) for each in lab.check(repair=True)]
        shell(lab, "node1", f"iptables -t nat -I PREROUTING {published}")
        return with_mark, without, lost, drifts, status(lab, "internet", ask)

    with_mark, without, lost, drifts, mended = testbed(asking, topology=ENIS)
    assert (with_mark, without, mended) == (0, 28, 0)  # curl: timed out
    assert lost > 0, "un-DNATed it has an address of eth0's, and came by eth1"
    assert any("mangle, chain PREROUTING: missing" in each and "limit-iface-in" in each for each in drifts), drifts


def test_pods_that_are_more_attach_an_eni_and_what_is_broken_on_it_is_named_and_mended(testbed: Labs) -> None:
    def growing(lab: Testbed) -> dict[str, object]:
        impatient()
        assert lab.plan is not None
        before = [link.name for link in lab.plan.netns["node1"].links if link.name.startswith("eth")]
        lab.scale(("Deployment", "default", "web"), 10)
        after = [link.name for link in lab.plan.netns["node1"].links if link.name.startswith("eth")]
        drift = lab.check()
        shell(
            lab,
            "node1",
            "ip address del 10.0.1.6/20 dev eth1; ip address add 10.0.1.6/20 dev eth1; ip rule del pref 1536",
        )
        named = [str(each) for each in lab.check(repair=True)]
        return {"before": before, "after": after, "drift": drift, "named": named, "left": lab.check(),
                "wrong": verified(lab)[0]}  # fmt: skip

    found = testbed(growing, topology=PLAIN)
    assert (found["before"], found["after"], found["drift"]) == (["eth0", "eth1"], ["eth0", "eth1", "eth2"], ())
    named = "\n".join(found["named"])
    assert "address 10.0.1.6/20: missing: 10.0.1.6/20 dev eth1 noprefixroute" in named
    assert "ip rule 1536: missing" in named
    assert (found["left"], found["wrong"]) == ((), [])


def test_what_is_predicted_of_a_pod_that_has_lost_its_rule_is_not_what_is_seen(testbed: Labs) -> None:
    """The comparison can say no: the VPC drops it, and the trace says where and what differs."""

    def broken(lab: Testbed) -> tuple[bool, Verdict, list[str], str]:
        impatient()
        assert lab.cluster is not None
        pod = next(each for each in lab.cluster.pods if str(each.addresses[0]) == FROM_ETH1)
        shell(lab, "node1", f"ip rule del from {FROM_ETH1}")
        result = lab.trace(pod.name, "client2", proto="icmp")
        rules = [cause.text for hop in result.observed.forward.hops for cause in hop.causes]
        return result.ok, result.observed.forward.verdict, rules, "\n".join(result.drift)

    matched, verdict, rules, drift = testbed(broken, topology=ENIS)
    assert (matched, verdict) == (False, Verdict.DROPPED)
    assert any("source is not assigned to this ENI" in each for each in rules)
    assert f"ip rule 1536: missing: priority 1536 from {FROM_ETH1}/32 lookup 2" in drift


def neighbors(lab: Testbed, netns: str, *addresses: str) -> dict[str, str]:
    """The MACs it has for these, once it has asked."""
    for address in addresses:
        status(lab, netns, f"ping -c1 -W1 {address}")
    lines = process.run(["ip", "neigh", "show", "dev", "eth0"], ns=lab.host.netns(netns)).stdout.splitlines()
    return {words[0]: words[2] for words in map(str.split, lines) if words[0] in addresses and "lladdr" in words}


def test_arp_is_answered_with_the_mac_of_the_eni_that_has_the_address_or_the_routers_or_not_at_all(
    testbed: Labs,
) -> None:
    def asking(lab: Testbed) -> tuple[dict[str, str], dict[str, str]]:
        impatient()
        assert lab.plan is not None
        links = {(name, link.name): link.mac for name, netns in lab.plan.netns.items() for link in netns.links}
        wanted = {"10.0.2.2": ("node2", "eth0"), "10.0.2.5": ("node2", "eth1"), "10.0.0.1": ("vpc", "node2-eth0")}
        asked = (*wanted, "10.0.2.4", "10.0.3.3", "10.0.0.2")  # eth1's own, and two that nobody has
        macs = {address: links[end] for address, end in {**wanted, "10.0.2.4": ("node2", "eth1")}.items()}
        return neighbors(lab, "node1", *asked), macs

    found, wanted = testbed(asking, topology=ENIS)
    assert found == wanted


def test_a_line_that_is_lost_or_wrong_is_seen_by_the_trace_and_named_and_mended(testbed: Labs) -> None:
    table, asked = "netdev subnet-10.0.0.0/20", "ip neigh flush dev eth0"

    def breaking(lab: Testbed) -> list[tuple[bool, str, list[str], bool]]:
        impatient()
        assert lab.plan is not None
        other = next(link.mac for link in lab.plan.netns["node2"].links if link.name == "eth1")
        delete, found = f"nft 'delete element {table} macs {{ 10.0.2.2 }}'", []
        for command in (delete, f"{delete}; nft 'add element {table} macs {{ 10.0.2.2 : {other} }}'"):
            shell(lab, "vpc", command)
            shell(lab, "node1", asked)
            broken = lab.trace("client", "client2", proto="icmp")
            drifts = sorted(str(each) for each in lab.check(repair=True))
            shell(lab, "node1", asked)
            mended = lab.trace("client", "client2", proto="icmp")
            found.append((broken.ok, broken.difference.what if broken.difference else "", drifts, mended.ok))
        return found

    lost, wrong = testbed(breaking, topology=ENIS)
    line = "vpc: subnet 10.0.0.0/20, 10.0.2.2: "
    assert (lost[0], lost[3], wrong[0], wrong[3]) == (False, True, False, True)
    assert "expected to leave node1 through eth0" in lost[1]
    assert "expected destination MAC" in wrong[1]
    assert [each.startswith(f"{line}wanted 10.0.2.2 : ") and each.endswith(" in frames alone")
            for each in lost[2]] == [True], lost[2]  # fmt: skip
    assert [each.startswith(line) for each in wrong[2]] == [True, True], wrong[2]


def test_the_plan_is_a_script_that_makes_the_same_network(tmp_path: Path) -> None:
    script = tmp_path / "plan.sh"
    script.write_text(machine.emu("plan", str(ENIS)).stdout)
    ping = "ip netns exec default.{} ping -c1 -W2 {}"
    pod = next(line for line in script.read_text().splitlines() if line.startswith("ip netns add default.web"))
    commands = (
        f"bash {script}",
        ping.format("client", "10.0.2.5"),
        ping.format(pod.removeprefix("ip netns add default."), "203.0.113.10"),
    )

    def run() -> None:
        os.chdir(machine.ROOT)
        process.run(["sh", "-ec", "; ".join(commands)], timeout_s=60, env={**process.ENVIRONMENT, "HOME": "/root"})

    leaks.pretend_machine(run)


def test_an_instance_type_that_is_too_small_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    text = (
        (PLAIN / "topology.yaml")
        .read_text()
        .replace("cni: aws-vpc", "cni: {mode: aws-vpc, options: {instance_type: t3.nano}}")
    )
    (tmp_path / "topology.yaml").write_text(text.replace("..", str(FOLDERS)))
    refused = machine.emu("up", str(tmp_path), check=False)
    assert refused.code == 2
    assert "the nodes hold 4 Pods (2 x t3.nano: 2 ENIs x (2 addresses - 1) = 2 Pods)" in refused.stderr
    assert "the manifests ask for 8: Deployment kube-system/coredns 2" in refused.stderr
