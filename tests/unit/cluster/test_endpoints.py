"""Services and Pods → Endpoints, EndpointSlices, Frontends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_world import (
    LATER,
    NOW,
    again,
    all_ready,
    as_reported,
    cluster,
    container,
    deployment,
    get,
    pod,
    service,
    topology,
)

from emu.api.objects import (
    ContainerPort,
    Endpoint,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    ObjectMeta,
    ServicePort,
    key_of,
)
from emu.cluster.lifecycle import terminated
from emu.cluster.model import Cluster, Frontend

TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
LABELS = {"app": "web"}


def slices(where: Cluster, name: str) -> list[EndpointSlice]:
    found = (obj for obj in where.objects.values() if isinstance(obj, EndpointSlice))
    return [each for each in found if each.metadata.labels.get("kubernetes.io/service-name") == name]


def frontend(where: Cluster, name: str) -> Frontend:
    return next(each for each in where.frontends if each.service == name)


def ready_pods(*names: str, **spec: object) -> Cluster:
    before = cluster(service("web"), *(pod(name, labels=LABELS, **spec) for name in names))
    return all_ready(before)


def test_endpoints_list_ready_and_not_ready_addresses() -> None:
    before = cluster(service("web"), pod("a", labels=LABELS), pod("b", labels=LABELS), pod("other"))
    where = again(before, as_reported(get(before, "Pod", "a")))
    (subset,) = get(where, "Endpoints", "web").subsets
    assert [each.ip for each in subset.addresses] == ["10.244.1.2"]
    assert [each.ip for each in subset.not_ready_addresses] == ["10.244.2.2"]
    assert subset.ports == (EndpointPort(port=80),)
    (address,) = subset.addresses
    reference = address.target_ref
    assert (address.node_name, reference.kind, reference.namespace, reference.name) == ("node1", "Pod", "default", "a")
    assert reference.uid == get(where, "Pod", "a").metadata.uid


def test_a_change_of_readiness_stamps_the_trigger_time() -> None:
    before = cluster(service("web"), pod("a", labels=LABELS))
    assert get(before, "Endpoints", "web").metadata.annotations[TRIGGER] == NOW
    after = again(before, as_reported(get(before, "Pod", "a")), now=LATER)
    assert get(after, "Endpoints", "web").metadata.annotations[TRIGGER] == LATER


def test_a_slice_says_ready_serving_terminating() -> None:
    where = ready_pods("a", "b")
    assert [each.conditions for each in slices(where, "web")[0].endpoints] == [
        EndpointConditions(ready=True, serving=True, terminating=False)
    ] * 2
    ending = again(where, terminated(get(where, "Pod", "a"), LATER))
    assert slices(ending, "web")[0].endpoints[0].conditions == EndpointConditions(
        ready=False, serving=True, terminating=True
    )
    assert [each.ip for each in get(ending, "Endpoints", "web").subsets[0].addresses] == ["10.244.2.2"]
    assert [(str(each), each.ready, each.terminating) for each in frontend(ending, "web").backends] == [
        ("10.244.1.2:80", False, True),
        ("10.244.2.2:80", True, False),
    ]


def test_a_slice_is_labelled_and_named_as_the_controller_does() -> None:
    (piece,) = slices(ready_pods("a"), "web")
    assert piece.metadata.name.startswith("web-") and len(piece.metadata.name) == len("web-") + 5
    assert piece.metadata.labels == {
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    assert (piece.address_type, piece.ports) == ("IPv4", (EndpointPort(port=80),))


def test_finished_pods_and_pods_without_address_do_not_count() -> None:
    before = cluster(service("web"), pod("a", labels=LABELS), pod("b", labels=LABELS, node_selector={"no": "where"}))
    where = again(before, as_reported(get(before, "Pod", "a"), ready=False, phase="Succeeded"))
    assert get(where, "Endpoints", "web").subsets == ()
    assert [each.endpoints for each in slices(where, "web")] == [()]


def test_a_named_target_port_is_looked_up_in_each_pod() -> None:
    def of_port(name: str, number: int) -> object:
        ports = (ContainerPort(container_port=number, name="http"),)
        return pod(name, labels=LABELS, containers=(container(ports=ports),))

    where = cluster(
        service("web", ServicePort(port=80, target_port="http")),
        of_port("a", 8080),
        of_port("b", 9090),
        of_port("c", 8080),
    )
    assert [[port.port for port in each.ports] for each in get(where, "Endpoints", "web").subsets] == [[8080], [9090]]
    assert sorted((each.ports[0].port, len(each.endpoints)) for each in slices(where, "web")) == [(8080, 2), (9090, 1)]
    assert [str(each) for each in frontend(where, "web").backends] == [
        "10.244.1.2:8080", "10.244.1.3:8080", "10.244.2.2:9090",
    ]  # fmt: skip


def test_a_port_no_pod_names_is_left_out_with_a_warning() -> None:
    where = cluster(service("web", ServicePort(port=80, target_port="admin")), pod("a", labels=LABELS))
    assert get(where, "Endpoints", "web").subsets == ()
    assert where.warnings == ("Service default/web: no selected Pod has a TCP port named admin",)


def test_a_selector_that_matches_nothing_is_a_warning() -> None:
    where = cluster(service("web", selector={"app": "wbe"}), pod("a", labels=LABELS))
    assert where.warnings == ("Service default/web: its selector app=wbe matches no Pod in namespace default",)
    assert frontend(where, "web").backends == ()


def test_unready_addresses_are_published_when_asked() -> None:
    where = cluster(service("web", publish_not_ready_addresses=True), pod("a", labels=LABELS))
    (subset,) = get(where, "Endpoints", "web").subsets
    assert ([each.ip for each in subset.addresses], subset.not_ready_addresses) == (["10.244.1.2"], ())
    assert slices(where, "web")[0].endpoints[0].conditions == EndpointConditions(
        ready=True, serving=False, terminating=False
    )


def test_a_headless_service_has_endpoints_with_hostnames_and_no_frontend() -> None:
    where = cluster(
        service("web", cluster_ip="None"),
        pod("a", labels=LABELS, hostname="first", subdomain="web"),
        pod("b", labels=LABELS),
    )
    assert [each.hostname for each in slices(where, "web")[0].endpoints] == ["first", ""]
    assert "service.kubernetes.io/headless" in slices(where, "web")[0].metadata.labels
    assert not [each for each in where.frontends if each.service == "web"]


def test_a_headless_service_may_have_no_ports() -> None:
    where = cluster(service("web", cluster_ip="None", ports=()), pod("a", labels=LABELS))
    assert get(where, "Endpoints", "web").subsets[0].ports == ()
    assert len(slices(where, "web")[0].endpoints) == 1


def test_backends_are_ordered_by_their_text() -> None:
    where = cluster(service("web"), *(pod(f"p{n}", labels=LABELS, ip=f"10.244.2.{n}") for n in (2, 22, 3)))
    assert [str(each) for each in frontend(where, "web").backends] == [
        "10.244.2.22:80",
        "10.244.2.2:80",
        "10.244.2.3:80",
    ]


def test_a_slice_holds_at_most_100_endpoints() -> None:
    where = cluster(service("web"), deployment("web", 230))
    assert [len(each.endpoints) for each in slices(where, "web")] == [100, 100, 30]
    assert len(frontend(where, "web").backends) == 230


def test_endpoints_are_cut_at_1000_addresses() -> None:
    where = cluster(service("web"), deployment("web", 1001), topo=topology(5))
    cut = get(where, "Endpoints", "web")
    assert sum(len(each.addresses) + len(each.not_ready_addresses) for each in cut.subsets) == 1000
    assert cut.metadata.annotations["endpoints.kubernetes.io/over-capacity"] == "truncated"
    assert sum(len(each.endpoints) for each in slices(where, "web")) == 1001


def test_scaling_touches_only_the_slices_with_room() -> None:
    before = cluster(service("web"), deployment("web", 130))
    after = again(before, replace(get(before, "Deployment", "web"), spec=deployment("web", 140).spec))
    full, rest = slices(before, "web")
    assert after.objects[key_of(full)] is full
    assert len(after.objects[key_of(rest)].endpoints) == 40


def test_scaling_one_deployment_leaves_other_services_alone() -> None:
    before = all_ready(cluster(service("a"), deployment("a", 2), service("b"), deployment("b", 2)))
    after = again(before, replace(get(before, "Deployment", "a"), spec=deployment("a", 3).spec))
    touched = {key for key in after.objects if after.objects[key] is not before.objects.get(key)}
    assert {key[0] for key in touched} == {"Deployment", "ReplicaSet", "Pod", "Endpoints", "EndpointSlice", "Node"}
    assert not [key for key in touched if key[2].startswith("b")]
    assert frontend(after, "b") is frontend(before, "b")
    assert frontend(after, "kubernetes") is frontend(before, "kubernetes")


def test_a_deleted_service_takes_endpoints_and_slices_with_it() -> None:
    before = ready_pods("a")
    after = again(before, deletes=[("Service", "default", "web")])
    assert ("Endpoints", "default", "web") not in after.objects
    assert slices(after, "web") == []


HAND_MADE = Endpoints(
    metadata=ObjectMeta(name="db", namespace="default", labels={"team": "x"}),
    subsets=(
        EndpointSubset(
            addresses=(EndpointAddress(ip="192.168.100.50"), EndpointAddress(ip="fd00::50")),
            not_ready_addresses=(EndpointAddress(ip="192.168.100.51"),),
            ports=(EndpointPort(port=5432, name="sql"),),
        ),
    ),
)


def test_hand_made_endpoints_are_mirrored_to_slices() -> None:
    where = cluster(service("db", ServicePort(port=5432, name="sql"), selector=None), HAND_MADE)
    assert get(where, "Endpoints", "db").subsets is HAND_MADE.subsets
    four, six = sorted(slices(where, "db"), key=lambda each: each.address_type)
    assert [(each.addresses[0], each.conditions.ready) for each in four.endpoints] == [
        ("192.168.100.50", True),
        ("192.168.100.51", False),
    ]
    assert (six.address_type, six.endpoints[0].addresses) == ("IPv6", ("fd00::50",))
    assert four.metadata.labels == {
        "team": "x",
        "kubernetes.io/service-name": "db",
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
    }
    assert [(str(each), each.ready, each.node) for each in frontend(where, "db").backends] == [
        ("192.168.100.50:5432", True, ""),
        ("192.168.100.51:5432", False, ""),
    ]


def test_the_mirror_follows_the_endpoints() -> None:
    before = cluster(service("db", ServicePort(port=5432, name="sql"), selector=None), HAND_MADE)
    made = get(before, "Endpoints", "db")
    after = again(before, replace(made, subsets=(replace(made.subsets[0], not_ready_addresses=()),)))
    assert [str(each) for each in frontend(after, "db").backends] == ["192.168.100.50:5432"]
    assert slices(again(after, deletes=[key_of(made)]), "db") == []


def test_hand_made_endpoints_without_a_service_are_a_warning() -> None:
    assert "there is no Service of this name" in cluster(HAND_MADE).warnings[0]


def test_hand_made_slices_are_used_as_they_are() -> None:
    piece = EndpointSlice(
        metadata=ObjectMeta(name="mine", namespace="default", labels={"kubernetes.io/service-name": "db"}),
        endpoints=(Endpoint(addresses=("192.168.100.50",)),),
        ports=(EndpointPort(port=5432),),
    )
    where = cluster(service("db", ServicePort(port=5432), selector=None), piece)
    assert [(str(each), each.ready, each.serving, each.terminating) for each in frontend(where, "db").backends] == [
        ("192.168.100.50:5432", True, True, False)
    ]


@pytest.mark.parametrize(("seconds", "spec"), [(0, {}), (10800, {"session_affinity": "ClientIP"})])
def test_session_affinity_has_kubernetes_default_time(seconds: int, spec: dict) -> None:
    assert frontend(cluster(service("web", selector=None, **spec)), "web").affinity_s == seconds
