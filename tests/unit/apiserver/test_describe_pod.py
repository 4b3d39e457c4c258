"""What `describe` tells of a Pod whose sandbox gets no network, and of the cluster DNS."""

from __future__ import annotations

import shipped

from emu.api.objects import Container, ObjectMeta, Pod, PodSpec
from emu.apiserver.describe import pod as describe
from emu.apiserver.describe import service
from emu.cluster.passes.addresses import without

WEB = Pod(
    metadata=ObjectMeta(name="web", namespace="default"),
    spec=PodSpec(containers=(Container(name="main", image="nginxdemos/hello"),)),
)


def events(pod: Pod) -> list[str]:
    lines = list(describe.lines(pod, {}))
    start = next(index for index, line in enumerate(lines) if line.startswith("Events:"))
    return lines[start:]


def field(lines: list[str], name: str) -> str:
    return next(line.partition("\t")[2] for line in lines if line.strip().startswith(f"{name}:"))


def of_cluster_dns(kind: str, name: str) -> list[str]:
    objects = shipped.cluster("two-node-flannel-vxlan").objects
    found = next(each for key, each in objects.items() if key[:2] == (kind, "kube-system") and key[2].startswith(name))
    return list((describe if kind == "Pod" else service).lines(found, objects))


def test_the_cluster_dns_is_described_as_kubeadms_addon_is() -> None:
    """cmd/kubeadm/app/phases/addons/dns/manifests.go, Kubernetes 1.30."""
    pod = of_cluster_dns("Pod", "coredns")
    assert {name: field(pod, name) for name in ("Priority", "Priority Class Name", "Service Account")} == {
        "Priority": "2000000000",
        "Priority Class Name": "system-cluster-critical",
        "Service Account": "coredns",
    }
    assert field(pod, "Ports") == "53/UDP, 53/TCP, 9153/TCP"
    assert field(pod, "Node-Selectors") == "kubernetes.io/os=linux"
    assert field(pod, "Liveness") == (
        "http-get http://:8080/health delay=60s timeout=5s period=10s #success=1 #failure=5"
    )
    assert field(pod, "Readiness") == "http-get http://:8181/ready delay=0s timeout=1s period=10s #success=1 #failure=3"
    dns = of_cluster_dns("Service", "kube-dns")
    start = next(index for index, line in enumerate(dns) if line.startswith("Labels:"))
    assert [line.partition("\t")[2] for line in dns[start : start + 3]] == [
        "k8s-app=kube-dns",
        "kubernetes.io/cluster-service=true",
        "kubernetes.io/name=CoreDNS",
    ]
    assert field(dns, "Annotations") == "prometheus.io/port: 9153"


def test_a_pod_without_trouble_has_no_events() -> None:
    assert events(WEB) == ["Events:\t<none>"]


def test_a_pod_that_could_not_be_joined_says_why_as_a_kubelet_does() -> None:
    *_, last = events(without(WEB, "CNI plugin bridge (ADD for Pod default/web): no VLAN", "2026-01-01T00:00:00Z"))
    assert last.split("\t")[:2] == ["  Warning", "FailedCreatePodSandBox"]
    assert last.endswith(
        "\tkubelet\tFailed to create pod sandbox: failed to setup network for sandbox: "
        "CNI plugin bridge (ADD for Pod default/web): no VLAN"
    )
