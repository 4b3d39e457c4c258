"""Pods whose addresses CNI plugins give: they wait, are given them by report, or say why they have none."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from cluster_world import NOW, again, cluster, container, get, pod, service, topology

from emu import planners
from emu.api.objects import ContainerPort
from emu.api.topology import Cni, Topology
from emu.cluster import readiness, report
from emu.cluster.model import Cluster
from emu.cluster.passes.addresses import without
from emu.errors import InputError
from emu.plan.attachment import Attachment

PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
BRIDGE = {"type": "bridge", "ipam": {"type": "host-local", "subnet": "{{.PodCIDR}}"}}


def lab(*plugins: dict[str, object], **options: object) -> Topology:
    conflist = {"cniVersion": "1.0.0", "name": "mynet", "plugins": plugins or (BRIDGE,)}
    return topology(2, cni=Cni(mode="plugins", conflist=conflist, options=options))


def joined(found: Cluster, name: str, *addresses: str) -> Cluster:
    given = tuple(map(ip_address, addresses))
    return again(found, report.joined(get(found, "Pod", name), given, found.families, NOW))


def attachment(found: Cluster, netns: str) -> Attachment:
    wanted = planners.build(found).netns[netns].attachment
    assert wanted is not None
    return wanted


def test_a_pod_waits_for_its_address_and_runs_nothing_before() -> None:
    found = cluster(pod("web", node_name="node1"), topo=lab())
    assert get(found, "Pod", "web").status.pod_ip == ""
    assert (found.pods, [each.name for each in found.joining]) == ((), ["web"])
    netns = planners.build(found).netns["default.web"]
    assert netns.pod is None and netns.attachment is not None
    assert readiness.unready(get(found, "Pod", "web")) == "Pod default/web is not ready (ContainerCreating)"


def test_with_its_address_it_runs_and_its_attachment_is_the_same() -> None:
    waits = cluster(pod("web", node_name="node2"), topo=lab())
    runs = joined(waits, "web", "10.244.2.7")
    assert get(runs, "Pod", "web").status.pod_ip == "10.244.2.7"
    assert [str(each.addresses[0]) for each in runs.pods] == ["10.244.2.7"] and runs.joining == ()
    assert planners.build(runs).netns["default.web"].pod is not None
    assert attachment(runs, "default.web") == attachment(waits, "default.web")


def test_it_becomes_an_endpoint_by_its_address_alone() -> None:
    ready = joined(cluster(pod("web", labels={"app": "web"}), service("web"), topo=lab()), "web", "10.9.0.2")
    assert [backend.address for each in ready.frontends for backend in each.backends if each.service == "web"] == [
        ip_address("10.9.0.2")
    ]


def test_a_pod_that_plugins_failed_for_says_so_and_is_not_waited_for() -> None:
    found = cluster(pod("web", node_name="node1"), topo=lab())
    found = again(found, without(get(found, "Pod", "web"), "CNI plugin bridge: no", NOW))
    web = get(found, "Pod", "web")
    assert readiness.unready(web) == ""
    assert readiness.hopeless(web).startswith(
        "Pod default/web is not ready, and not waited for: FailedCreatePodSandBox: "
        "failed to setup network for sandbox: CNI plugin bridge: no"
    )
    assert get(joined(found, "web", "10.244.1.2"), "Pod", "web").status.pod_ip == "10.244.1.2"


def test_each_node_has_its_own_range_in_the_configuration() -> None:
    found = cluster(pod("a", node_name="node1"), pod("b", node_name="node2"), topo=lab())
    ranges = [
        json.loads(attachment(found, name).network.plugins[0])["ipam"]["subnet"] for name in ("default.a", "default.b")
    ]
    assert ranges == ["10.244.1.0/24", "10.244.2.0/24"]


def test_a_pod_is_named_to_the_plugins_as_kubelet_names_it() -> None:
    wanted = attachment(cluster(pod("web", node_name="node1"), topo=lab()), "default.web")
    args = dict(wanted.args)
    assert (args["K8S_POD_NAMESPACE"], args["K8S_POD_NAME"], args["IgnoreUnknown"]) == ("default", "web", "1")
    assert args["K8S_POD_INFRA_CONTAINER_ID"] == wanted.container_id and len(wanted.container_id) == 64


def test_nodes_are_gateways_to_each_others_pods_unless_the_plugins_are() -> None:
    routes = [str(each.dst) for each in planners.build(cluster(topo=lab())).netns["node1"].routes]
    assert routes == ["0.0.0.0/0", "10.244.2.0/24"]
    alone = planners.build(cluster(topo=lab(BRIDGE, between_nodes="none"))).netns["node1"].routes
    assert [str(each.dst) for each in alone] == ["0.0.0.0/0"]


def test_a_host_port_wants_a_plugin_that_can_map_ports() -> None:
    ports = (ContainerPort(container_port=80, host_port=8080),)
    published = pod("web", node_name="node1", containers=(container(ports=ports),))
    with pytest.raises(InputError, match="add a plugin with the capability portMappings"):
        cluster(published, topo=lab())
    given = dict(attachment(cluster(published, topo=lab(BRIDGE, PORTMAP)), "default.web").capabilities)
    assert json.loads(given["portMappings"]) == [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]


def test_an_address_that_is_asked_for_wants_a_plugin_that_can_give_it() -> None:
    with pytest.raises(InputError, match="no plugin of the conflist has the capability ips"):
        cluster(pod("web", ip="10.244.1.9", node_name="node1"), topo=lab())
    able = lab({**BRIDGE, "capabilities": {"ips": True}})
    given = attachment(cluster(pod("web", ip="10.244.1.9", node_name="node1"), topo=able), "default.web").capabilities
    assert dict(given)["ips"] == '["10.244.1.9"]'
