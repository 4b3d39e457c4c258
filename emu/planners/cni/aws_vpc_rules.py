"""What aws-node writes into a Node's tables: source NAT for what leaves the VPC, and the marks by which such
connections, and those that came in by eth0, keep to eth0.

A rule for a CIDR is inserted at a chain's head, so that the last of them stands first. The mark 0x80 stands in the
conntrack entry; the rule of routing at 1024 looks for it on the packet.

Source: aws/amazon-vpc-cni-k8s pkg/networkutils/network.go (buildIptablesSNATRules), iptables_connmark.go."""

from __future__ import annotations

from dataclasses import dataclass

from emu import names
from emu.memo import Memo
from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.model import Hook, RulesetPart

OWNER = "aws-node"
SNAT_CHAIN, CONNMARK_CHAIN = "AWS-SNAT-CHAIN-0", "AWS-CONNMARK-CHAIN-0"
MARK = 0x80
SET, RESTORE = "--set-xmark 0x80/0x80", "--restore-mark --mask 0x80"
RANDOMIZE = {"prng": " --random-fully", "hashrandom": " --random", "none": ""}
PODS = Match("", "-i", "eni+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snat:
    """How aws-node was started. `cidrs`: of the VPC; `excluded`: what else is not to see the Node's address."""

    cidrs: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    external: bool = False  # somebody else's, AWS_VPC_K8S_CNI_EXTERNALSNAT
    randomize: str = "prng"


def part(key: object, snat: Snat, address: str) -> RulesetPart:
    """`address`: the first of eth0."""
    return _part(key, snat, address)


def _make_part(snat: Snat, address: str) -> RulesetPart:
    nat, hooks = ((Chain(SNAT_CHAIN),), ()) if snat.external else (_chains(snat, address), _nat_hooks())
    return RulesetPart(
        owner=OWNER,
        family=4,
        tables=(Table(4, "nat", nat),),
        hooks=(*hooks, *(Hook(table="mangle", chain="PREROUTING", rule=rule) for rule in _primary())),
    )


def _chains(snat: Snat, address: str) -> tuple[Chain, Chain]:
    spared = [(cidr, " EXCLUSION") for cidr in snat.excluded[::-1]] + [(cidr, "") for cidr in snat.cidrs[::-1]]
    not_ours = [_rule("RETURN", Match("", "-d", cidr), comment=f"AWS SNAT CHAIN{word}") for cidr, word in spared]
    unmarked = [_rule("RETURN", Match("", "-d", cidr), comment="AWS CONNMARK CHAIN") for cidr, _ in spared]
    matches = (Match("", "-o", "vlan+", negated=True), Match("addrtype", "--dst-type", "LOCAL", negated=True))
    options = f"--to-source {address}{RANDOMIZE[snat.randomize]}"
    last = Rule(matches, "SNAT", options, "AWS, SNAT", comment_at=1)
    mark = _rule("CONNMARK", comment="AWS, CONNMARK", options=SET)
    return Chain(SNAT_CHAIN, (*not_ours, last)), Chain(CONNMARK_CHAIN, (*unmarked, mark))


def _nat_hooks() -> tuple[Hook, ...]:
    """A packet of a Pod's to a Service is translated by kube-proxy's jump, which stands first, and comes no further."""
    return (
        Hook(table="nat", chain="PREROUTING", rule=_rule(CONNMARK_CHAIN, PODS, comment="AWS, outbound connections")),
        Hook(table="nat", chain="PREROUTING", rule=_rule("CONNMARK", comment="AWS, CONNMARK", options=RESTORE)),
        Hook(table="nat", chain="POSTROUTING", rule=_rule(SNAT_CHAIN, comment="AWS SNAT CHAIN")),
    )


def _primary() -> tuple[Rule, ...]:
    """For NodePorts: the route of an answer is chosen before its source turns back into the Node's address, and would
    be that of the Pod's own ENI."""
    here = (Match("addrtype", "--dst-type", "LOCAL"), Match("addrtype", "--limit-iface-in"))
    comment = "AWS, primary ENI"
    return (
        Rule((Match("", "-i", names.UPLINK), *here), "CONNMARK", "--set-mark 0x80/0x80", comment, comment_at=1),
        _rule("CONNMARK", PODS, comment=comment, options=RESTORE),
        _rule("CONNMARK", Match("", "-i", "vlan+"), comment=comment, options=RESTORE),
    )


def _rule(target: str, *matches: Match, comment: str, options: str = "") -> Rule:
    return Rule(matches, target, options, comment, comment_at=len(matches))


_part: Memo[RulesetPart] = Memo(_make_part)
