"""What `describe pod` tells of a Pod whose sandbox gets no network."""

from __future__ import annotations

from emu.api.objects import Container, ObjectMeta, Pod, PodSpec
from emu.apiserver.describe import pod as describe
from emu.cluster.passes.addresses import without

WEB = Pod(
    metadata=ObjectMeta(name="web", namespace="default"),
    spec=PodSpec(containers=(Container(name="main", image="nginxdemos/hello"),)),
)


def events(pod: Pod) -> list[str]:
    lines = list(describe.lines(pod, {}))
    start = next(index for index, line in enumerate(lines) if line.startswith("Events:"))
    return lines[start:]


def test_a_pod_without_trouble_has_no_events() -> None:
    assert events(WEB) == ["Events:\t<none>"]


def test_a_pod_that_could_not_be_joined_says_why_as_a_kubelet_does() -> None:
    *_, last = events(without(WEB, "CNI plugin bridge (ADD for Pod default/web): no VLAN", "2026-01-01T00:00:00Z"))
    assert last.split("\t")[:2] == ["  Warning", "FailedCreatePodSandBox"]
    assert last.endswith(
        "\tkubelet\tFailed to create pod sandbox: failed to setup network for sandbox: "
        "CNI plugin bridge (ADD for Pod default/web): no VLAN"
    )
