"""What others have made in the namespaces of a cluster, put into its plan: values to predict with and to look for, and
rules, which share tables with ours and so must be known whenever a table is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from emu import names
from emu.cluster.model import Cluster
from emu.memo import Memo
from emu.netfilter.model import BUILTIN, Table
from emu.plan.merge import Fragment, Rules
from emu.plan.model import Foreign, Hook, NetnsKind, NetnsPlan, RulesetPart

FIRST, LAST = "cni-plugins", "cni-plugins-appended"


def plan(cluster: Cluster, found: Mapping[str, Foreign]) -> Iterator[Fragment]:
    """Of Nodes and Pods that are still there."""
    for node in cluster.nodes:
        if node.name in found:
            yield from _fragments((cluster.name, node.name), node.name, NetnsKind.NODE, node.name, found[node.name])
    for pod in (*cluster.pods, *cluster.joining) if found else ():
        name = names.pod_netns(pod.namespace, pod.name)
        if name in found:
            yield from _fragments((cluster.name, name), name, NetnsKind.POD, pod.key, found[name])


def _make(name: str, kind: NetnsKind, owner: str, found: Foreign) -> tuple[Fragment, ...]:
    values = replace(found, tables=(), appended=())
    rules = (*_parts(FIRST, found.tables), *_parts(LAST, found.appended))
    return (NetnsPlan(name=name, kind=kind, owner=owner, foreign=values), *(Rules(name, part) for part in rules))


_fragments: Memo[tuple[Fragment, ...]] = Memo(_make, size=1 << 15)


def _parts(owner: str, tables: Iterable[Table]) -> Iterator[RulesetPart]:
    for table in tables:
        builtin = BUILTIN[table.name]
        own = tuple(chain for chain in table.chains if chain.name not in builtin)
        yield RulesetPart(
            owner=owner,
            family=table.family,
            tables=(Table(table.family, table.name, own),) if own else (),
            hooks=tuple(
                Hook(table=table.name, chain=chain.name, rule=rule)
                for chain in table.chains
                if chain.name in builtin
                for rule in chain.rules
            ),
        )
