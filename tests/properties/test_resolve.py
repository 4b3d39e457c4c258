"""What holds for any cluster: resolving is a fixed point, choices are kept, nothing is given twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emu.api import images
from emu.api.objects import (
    Condition,
    Container,
    ContainerPort,
    DaemonSet,
    DaemonSetSpec,
    Deployment,
    DeploymentSpec,
    Endpoints,
    EndpointSlice,
    LabelSelector,
    ObjectMeta,
    Objects,
    Pod,
    PodSpec,
    PodTemplateSpec,
    Service,
    ServicePort,
    ServiceSpec,
    key_of,
)
from emu.api.topology import Dns, NodeEntry, Ranges, Topology
from emu.cluster.lifecycle import delete, is_terminating, with_condition
from emu.cluster.model import Cluster
from emu.cluster.objectmap import differences
from emu.cluster.resolve import resolve
from emu.store import Store

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z"
REGISTRY = images.load_registry({})
NAMES = ("a", "b", "c", "d")
CAREFUL = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def template(name: str, port: int, node_selector: dict) -> PodTemplateSpec:
    ports = (ContainerPort(container_port=port, name="http"),)
    spec = PodSpec(
        containers=(Container(name="main", image="nginxdemos/hello", ports=ports),), node_selector=node_selector
    )
    return PodTemplateSpec(metadata=ObjectMeta(labels={"app": name}), spec=spec)


def meta(name: str) -> ObjectMeta:
    return ObjectMeta(name=name, namespace="default")


names = st.sampled_from(NAMES)
templates = st.builds(
    lambda name, port, ssd: template(name, port, {"disk": "ssd"} if ssd else {}),
    names,
    st.sampled_from((80, 8080)),
    st.booleans(),
)
selectors = names.map(lambda name: LabelSelector(match_labels={"app": name}))


@st.composite
def workloads(draw: st.DrawFn) -> Deployment | DaemonSet | Pod | Service:
    name = draw(names)
    made = draw(templates)
    selector = LabelSelector(match_labels=made.metadata.labels)
    return draw(
        st.sampled_from(
            (
                Deployment(
                    metadata=meta(name),
                    spec=DeploymentSpec(replicas=draw(st.integers(0, 7)), selector=selector, template=made),
                ),
                DaemonSet(metadata=meta(name), spec=DaemonSetSpec(selector=selector, template=made)),
                Pod(metadata=replace(meta(name), labels=made.metadata.labels), spec=made.spec),
                Service(
                    metadata=meta(name),
                    spec=ServiceSpec(
                        selector=made.metadata.labels,
                        cluster_ip=draw(st.sampled_from(("", "None"))),
                        ports=(ServicePort(port=80, target_port=draw(st.sampled_from((80, "http")))),),
                    ),
                ),
            )
        )
    )


topologies = st.builds(
    lambda count, seed, replicas, prefix: Topology(
        name="lab",
        seed=seed,
        nodes=tuple(NodeEntry(name=f"node{n}", labels={"disk": "ssd"} if n % 2 else {}) for n in range(count)),
        dns=Dns(replicas=replicas),
        ranges=Ranges(node_pod_prefix=prefix),
    ),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(0, 2),
    st.sampled_from((24, 26)),
)
clusters = st.builds(
    lambda topo, objs: resolve(topo, {key_of(obj): obj for obj in objs}, REGISTRY, NOW),
    topologies,
    st.lists(workloads(), max_size=6),
)


def happened(objects: Objects, choices: st.DataObject) -> Objects:
    """Some Pods become ready or fail, some that terminate are gone, something is applied, something deleted."""
    after = dict(objects)
    for key, obj in objects.items():
        if not isinstance(obj, Pod) or not obj.spec.node_name:
            continue
        event = choices.draw(st.sampled_from(("nothing", "ready", "unready", "failed", "gone")))
        if event == "gone" and is_terminating(obj):
            del after[key]
        elif event in ("ready", "unready", "failed"):
            condition = Condition(type="Ready", status=str(event == "ready"))
            phase = "Failed" if event == "failed" else "Running"
            conditions = with_condition(obj.status.conditions, condition)
            after[key] = replace(obj, status=replace(obj.status, phase=phase, conditions=conditions))
    for obj in choices.draw(st.lists(workloads(), max_size=2)):
        if key_of(obj) not in after:
            after[key_of(obj)] = obj
    doomed = choices.draw(st.lists(st.sampled_from(sorted(after)), max_size=2))
    puts, deletes = delete(after, [key for key in doomed if key[0] not in ("Namespace", "Node")], LATER)
    after.update((key_of(obj), obj) for obj in puts)
    return {key: obj for key, obj in after.items() if key not in deletes}


def check(where: Cluster) -> None:
    """What must hold at any moment."""
    addresses = Counter(address for pod in where.pods for address in pod.addresses)
    assert not [address for address, count in addresses.items() if count > 1]
    for pod in where.pods:
        assert all(address in cidr for address, cidr in zip(pod.addresses, where.node(pod.node).pod_cidrs, strict=True))
    services = [obj for obj in where.objects.values() if isinstance(obj, Service)]
    ips = Counter(ip for each in services for ip in each.spec.cluster_ips if ip != "None")
    assert not [ip for ip, count in ips.items() if count > 1]
    for each in services:
        assert each.spec.cluster_ips
        if each.spec.selector:
            check_endpoints(where, each)


def check_endpoints(where: Cluster, service: Service) -> None:
    """Endpoints, slices and Pods tell the same."""
    wanted = {
        obj.status.pod_ip
        for obj in where.objects.values()
        if isinstance(obj, Pod)
        and obj.metadata.namespace == service.metadata.namespace
        and service.spec.selector.items() <= obj.metadata.labels.items()
        and obj.status.pod_ip
        and obj.status.phase not in ("Succeeded", "Failed")
    }
    pieces = [
        obj
        for obj in where.objects.values()
        if isinstance(obj, EndpointSlice)
        and obj.metadata.namespace == service.metadata.namespace
        and obj.metadata.labels["kubernetes.io/service-name"] == service.metadata.name
    ]
    sliced = [endpoint.addresses[0] for piece in pieces for endpoint in piece.endpoints]
    assert sorted(sliced) == sorted(wanted)
    ready = {e.addresses[0] for piece in pieces for e in piece.endpoints if e.conditions.ready}
    listed = where.objects["Endpoints", service.metadata.namespace, service.metadata.name]
    assert isinstance(listed, Endpoints)
    assert {address.ip for subset in listed.subsets for address in subset.addresses} == ready


@CAREFUL
@given(clusters)
def test_resolving_what_is_resolved_gives_the_same_objects(where: Cluster) -> None:
    check(where)
    second = resolve(where.topology, where.objects, REGISTRY, LATER, previous=where)
    assert second.objects is where.objects
    assert [id(pod) for pod in second.pods] == [id(pod) for pod in where.pods]
    assert [id(frontend) for frontend in second.frontends] == [id(frontend) for frontend in where.frontends]


@CAREFUL
@given(clusters, st.data())
def test_whatever_happens_it_comes_to_rest_and_keeps_its_choices(where: Cluster, choices: st.DataObject) -> None:
    for _ in range(3):
        objects = happened(where.objects, choices)
        after = resolve(where.topology, objects, REGISTRY, LATER, previous=where)
        check(after)
        assert resolve(after.topology, after.objects, REGISTRY, LATER).objects is after.objects
        kept = {pod.uid: pod for pod in where.pods if ("Pod", pod.namespace, pod.name) in objects}
        for pod in after.pods:
            if pod.uid in kept:
                assert pod is kept[pod.uid]
        where = after


@CAREFUL
@given(clusters)
def test_what_went_through_the_store_is_settled_too(where: Cluster) -> None:
    """resourceVersions are new, nothing else: a second reconcile writes nothing."""
    place = Store(where.seed, now=lambda: NOW)
    place.write(*differences({}, where.objects))
    stored = place.snapshot().objects
    assert resolve(where.topology, stored, REGISTRY, LATER, previous=where).objects is stored
