"""A fabric that forwards node addresses alone (`fabric.forwards: node-addresses`), as a cloud's does: it knows which
address it has given to which machine, and drops what is from or to any other (on AWS the "source/destination check").
What Nodes put around a packet, with their own addresses, passes.

The switches are bridges, and br_netfilter shows bridged packets to iptables in the fabric's netns; not ARP.
A cloud compares with each machine's own address; here the Node networks are enough, for nobody takes another's address.
"""

from __future__ import annotations

from collections.abc import Iterator

from emu import names
from emu.cluster.model import Cluster, IPNetwork
from emu.memo import Memo
from emu.netfilter.model import Chain, Match, Rule, Table
from emu.plan.merge import Rules
from emu.plan.model import Hook, RulesetPart

OWNER = "fabric"
NODE_ADDRESSES = "node-addresses"
SOURCE, DESTINATION = "FABRIC-SOURCE", "FABRIC-DESTINATION"
#: Neighbor discovery and duplicate address detection are IPv6 packets themselves.
LINK_SCOPE = (("-s", "fe80::/10"), ("-s", "::/128"), ("-d", "ff00::/8"), ("-d", "fe80::/10"))


def checks(cluster: Cluster) -> bool:
    return cluster.topology.fabric.forwards == NODE_ADDRESSES


def plan(cluster: Cluster) -> Iterator[Rules]:
    for family in cluster.families if checks(cluster) else ():
        networks = tuple(network for network in cluster.node_ranges if network.version == family)
        yield Rules(names.FABRIC_NETNS, _part((cluster.name, family), family, networks))


def _make_part(family: int, networks: tuple[IPNetwork, ...]) -> RulesetPart:
    free = [_rule("ACCEPT", Match("", flag, value)) for flag, value in LINK_SCOPE] if family == 6 else []
    sources = [_rule(DESTINATION, Match("", "-s", str(network))) for network in networks]
    destinations = [_rule("ACCEPT", Match("", "-d", str(network))) for network in networks]
    chains = (
        Chain(SOURCE, (*free, *sources, _rule("DROP", comment="source is not a node address"))),
        Chain(DESTINATION, (*destinations, _rule("DROP", comment="destination is not a node address"))),
    )
    return RulesetPart(
        owner=OWNER,
        family=family,
        tables=(Table(family, "filter", chains),),
        hooks=(Hook(table="filter", chain="FORWARD", rule=_rule(SOURCE)),),
    )


def _rule(target: str, *matches: Match, comment: str = "") -> Rule:
    return Rule(matches, target, "", comment, comment_at=len(matches))


_part: Memo[RulesetPart] = Memo(_make_part)
