"""Objects → Cluster: every choice a running cluster makes by itself, made here, once and repeatably.

The passes run in order, and again as long as a round changes something: a rolling update's next step may follow from
the one before. So resolving what was resolved changes nothing, by construction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from emu.api.images import Image
from emu.api.objects import Key, Node, Objects
from emu.api.topology import Topology
from emu.cluster import capacity, hostports, ipam, objectmap, published, services
from emu.cluster.model import Cluster
from emu.cluster.nodes import families, node_ranges, nodes, ranges
from emu.cluster.objectmap import of_kind
from emu.cluster.passes.addresses import addresses
from emu.cluster.passes.clusterips import clusterips
from emu.cluster.passes.collect import collect
from emu.cluster.passes.daemonsets import daemonsets
from emu.cluster.passes.deployments import deployments
from emu.cluster.passes.endpoints import endpoints
from emu.cluster.passes.mirror import mirror
from emu.cluster.passes.replicasets import replicasets
from emu.cluster.passes.schedule import schedule
from emu.cluster.passes.stamp import stamp
from emu.cluster.passes.status import status
from emu.cluster.passes.system import system
from emu.cluster.places import located
from emu.cluster.pods import check_images, joining, pods
from emu.cluster.routers import routers
from emu.cluster.warnings import warnings
from emu.errors import InputError, Place

Pass = Callable[[Topology, Objects, str], Objects]

PASSES: tuple[Pass, ...] = (
    system,  # what a cluster has by itself
    stamp,  # uid and creation time: owners are known by their uid
    collect,  # what lost its owner or namespace goes, before it is counted
    deployments,  # → ReplicaSets
    replicasets,  # → Pods
    daemonsets,  # → Pods
    schedule,  # Pods → Nodes
    addresses,  # placed Pods → addresses of the IPAM that the CNI mode chooses
    clusterips,  # Services → addresses
    endpoints,  # Services and Pods with addresses → Endpoints, EndpointSlices
    mirror,  # hand-made Endpoints → EndpointSlices
    status,  # counters, of all that is decided above
)

MAX_ROUNDS = 1000  # a rolling update of n Pods takes fewer than n


def resolve(
    topology: Topology,
    objects: Objects,
    registry: Mapping[str, Image],
    now: str,
    *,
    previous: Cluster | None = None,
    places: Mapping[Key, Place] | None = None,
) -> Cluster:
    """`now` (RFC 3339) is written on what is created or changes state. With `previous`, what is the same there is known
    to be right, and Pods that were there keep the Service variables they started with. Objects without any Node are a
    cluster about to be brought up: then ranges that cannot hold the Pods are a PlanError, where a running cluster
    leaves such Pods waiting. With `places` (of `load.Loaded`) an InputError names file and line."""
    try:
        return _resolved(topology, objects, registry, now, previous)
    except InputError as error:
        raise located(error, places or {}) from None


def _resolved(
    topology: Topology, objects: Objects, registry: Mapping[str, Image], now: str, previous: Cluster | None
) -> Cluster:
    is_new = not any(key[0] == "Node" for key in objects)
    if is_new:
        capacity.check_totals(topology, objects)
    unseen = objectmap.unseen(objects, previous.objects if previous else {})
    check_images(unseen, registry)
    hostports.check(topology, unseen)
    published.check(topology, objects, unseen)
    settled = settle(topology, objects, now)
    if is_new:
        capacity.check_nodes(topology, settled)
    return _cluster(topology, settled, registry, previous)


def settle(topology: Topology, objects: Objects, now: str) -> Objects:
    """`objects` itself when nothing is left to decide."""
    for _ in range(MAX_ROUNDS):
        before = objects
        for each in PASSES:
            objects = each(topology, objects, now)
        if objects is before:
            return objects
    raise AssertionError("the passes do not come to rest")


def _cluster(topology: Topology, objects: Objects, registry: Mapping[str, Image], previous: Cluster | None) -> Cluster:
    known = {node.metadata.name: node for node in of_kind(objects, Node)}
    made = ipam.of(topology).known(topology, nodes(topology), known)
    return Cluster(
        name=topology.name,
        seed=topology.seed,
        topology=topology,
        families=families(topology),
        nodes=made,
        pods=pods(topology, objects, registry, previous),
        frontends=services.frontends(objects, made),
        pod_ranges=ranges(topology, "pods"),
        service_ranges=ranges(topology, "services"),
        node_ranges=node_ranges(topology),
        objects=objects,
        routers=routers(topology),
        warnings=warnings(objects),
        published=published.of(objects),
        joining=joining(topology, objects, registry),
    )
