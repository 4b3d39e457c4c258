"""What a second `apply`, and a kubelet's report, make of an object."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_world import LATER, NOW, again, as_reported, cluster, container, deployment, get, pod, service

from emu.api.objects import Condition, ContainerStatus, LabelSelector, LabelSelectorRequirement, PodStatus, ServicePort
from emu.cluster.report import reported
from emu.cluster.selectors import matches
from emu.cluster.update import updated
from emu.errors import InputError


@pytest.mark.parametrize("manifest", [service("web"), deployment("web", 2), pod("web")])
def test_applying_the_same_manifest_again_changes_nothing(manifest: object) -> None:
    where = cluster(manifest)
    existing = get(where, manifest.KIND, "web")
    assert updated(existing, manifest) is existing


def test_a_service_keeps_its_address_when_its_ports_change() -> None:
    where = cluster(service("web"))
    existing = get(where, "Service", "web")
    new = updated(existing, service("web", ServicePort(port=81)))
    assert (new.spec.cluster_ip, new.spec.ports[0].port) == (existing.spec.cluster_ip, 81)
    assert get(again(where, new), "Service", "web").metadata.uid == existing.metadata.uid


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (service("a", cluster_ip="10.96.5.5"), service("a", cluster_ip="10.96.5.6"), "10.96.5.5 and may not change"),
        (pod("a"), pod("a", hostname="other"), "Pod updates may not change fields other than"),
        (
            deployment("a"),
            replace(deployment("a"), spec=deployment("b").spec),
            "Deployment default/a: spec.selector: field is immutable",
        ),
    ],
)
def test_what_may_not_change_is_refused(first: object, second: object, message: str) -> None:
    where = cluster(first)
    with pytest.raises(InputError) as error:
        updated(get(where, first.KIND, "a"), second)
    assert message in str(error.value)


def test_a_pods_image_may_change() -> None:
    where = cluster(pod("a"))
    new = updated(get(where, "Pod", "a"), pod("a", containers=(container(image="nicolaka/netshoot"),)))
    after = again(where, new)
    assert after.pods[0].node == where.pods[0].node
    assert after.pods[0].containers[0].program != where.pods[0].containers[0].program


def test_a_report_keeps_what_was_decided() -> None:
    status = get(cluster(pod("a")), "Pod", "a").status
    report = PodStatus(
        phase="Running",
        conditions=(Condition(type="Ready", status="True", last_transition_time=LATER),),
        container_statuses=(ContainerStatus(name="main", ready=True),),
    )
    merged = reported(status, report)
    assert (merged.phase, merged.pod_ip, merged.host_ip, merged.start_time) == (
        "Running",
        "10.244.1.2",
        "192.168.100.11",
        NOW,
    )
    assert [(each.type, each.status) for each in merged.conditions] == [("Ready", "True"), ("PodScheduled", "True")]
    assert merged.pod_ips is status.pod_ips
    assert reported(merged, report) is merged


def test_the_same_readiness_keeps_its_time() -> None:
    ready = as_reported(get(cluster(pod("a")), "Pod", "a")).status
    later = PodStatus(phase="Running", conditions=(Condition(type="Ready", status="True", last_transition_time=LATER),))
    assert [each.last_transition_time for each in reported(ready, later).conditions if each.type == "Ready"] == [NOW]


@pytest.mark.parametrize(
    ("operator", "key", "values", "matched"),
    [
        ("In", "app", ("web", "db"), True),
        ("In", "tier", ("x",), False),
        ("NotIn", "app", ("web",), False),
        ("NotIn", "tier", ("x",), True),
        ("Exists", "app", (), True),
        ("Exists", "tier", (), False),
        ("DoesNotExist", "tier", (), True),
        ("DoesNotExist", "app", (), False),
    ],
)
def test_expressions_match_as_in_kubernetes(operator: str, key: str, values: tuple, matched: bool) -> None:
    requirement = LabelSelectorRequirement(key=key, operator=operator, values=values)
    assert matches(LabelSelector(match_expressions=(requirement,)), {"app": "web"}) is matched


def test_nothing_selects_nothing_and_an_empty_selector_everything() -> None:
    assert not matches(None, {"app": "web"})
    assert matches({}, {"app": "web"})
    assert matches(LabelSelector(match_labels={"app": "web"}), {"app": "web", "x": "y"})
