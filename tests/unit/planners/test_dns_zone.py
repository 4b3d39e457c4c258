from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from emu.api.objects import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    Namespace,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    key_of,
)
from emu.api.topology import Dns, Topology
from emu.cluster.model import Cluster, Pod
from emu.plan.dns import DnsEndpoint, DnsPort, DnsService
from emu.planners import dns

HTTP = DnsPort(name="http", protocol="TCP", port=8080)


def service(name, namespace="default", **spec):
    spec.setdefault("ports", (ServicePort(port=80, name="http"),))
    meta = ObjectMeta(name=name, namespace=namespace, creation_timestamp="2024-01-01T00:00:00Z")
    return Service(metadata=meta, spec=ServiceSpec(**spec))


def slice_of(name, endpoints, changed="2024-01-01T00:01:00Z"):
    meta = ObjectMeta(
        name=f"{name}-x2x4z",
        namespace="default",
        labels={dns.SERVICE_NAME: name},
        annotations={dns.CHANGED_AT: changed},
    )
    return EndpointSlice(metadata=meta, endpoints=endpoints, ports=(EndpointPort(port=8080, name="http"),))


WEB = service("web", cluster_ip="10.96.10.10", cluster_ips=("10.96.10.10",))
BEHIND = slice_of(
    "web",
    (
        Endpoint(addresses=("10.244.1.5",), conditions=EndpointConditions(ready=True), hostname="web-0"),
        Endpoint(addresses=("10.244.1.6",), conditions=EndpointConditions(ready=False)),
        Endpoint(addresses=("10.244.1.7",)),
    ),
)
POD = Pod(
    namespace="default",
    name="web-0",
    uid="u",
    node="node1",
    addresses=(IPv4Address("10.244.1.5"),),
    labels={},
    hostname="web-0",
    containers=(),
)


def cluster(*objects, **topology):
    spaces = [Namespace(metadata=ObjectMeta(name=name)) for name in ("kube-system", "default")]
    return Cluster(
        name="t",
        seed=0,
        topology=Topology(name="t", nodes=(), **topology),
        families=(4,),
        nodes=(),
        pods=(POD,),
        frontends=(),
        pod_ranges=(ip_network("10.244.0.0/16"),),
        service_ranges=(ip_network("10.96.0.0/12"),),
        node_ranges=(ip_network("192.168.100.0/24"),),
        objects={key_of(obj): obj for obj in (*spaces, *objects)},
    )


def test_a_service_with_its_ready_endpoints():
    assert dns.zone(cluster(WEB, BEHIND)).services == (
        DnsService(
            namespace="default",
            name="web",
            cluster_ips=("10.96.10.10",),
            ports=(DnsPort(name="http", protocol="TCP", port=80),),
            endpoints=(
                DnsEndpoint(address="10.244.1.5", hostname="web-0", ports=(HTTP,)),
                DnsEndpoint(address="10.244.1.7", ports=(HTTP,)),
            ),
        ),
    )


def test_clusterip_none_is_headless():
    (got,) = dns.zone(cluster(service("pets", cluster_ip="None", cluster_ips=("None",)))).services
    assert got.cluster_ips == ()


def test_equal_clusters_give_equal_zones():
    assert dns.zone(cluster(WEB, BEHIND)) == dns.zone(cluster(BEHIND, WEB))


def test_namespaces_exist_even_when_empty():
    assert dns.zone(cluster()).namespaces == ("default", "kube-system")


def test_the_serial_is_the_time_of_the_newest_change():
    assert dns.zone(cluster()).serial == 1
    assert dns.zone(cluster(WEB)).serial == 1704067200
    assert dns.zone(cluster(WEB, BEHIND)).serial == 1704067260


def test_pods_matter_only_when_they_are_verified():
    assert dns.zone(cluster(WEB)).pods == ()
    assert dns.zone(cluster(WEB, dns=Dns(pods="verified"))).pods == (("default", "10.244.1.5"),)


def test_a_status_change_of_a_pod_leaves_the_zone_alone():
    before = cluster(WEB, BEHIND)
    assert dns.zone(replace(before, pods=())) == dns.zone(before)


def test_reverse_ranges_end_here_unless_an_upstream_follows():
    assert dns.zone(cluster()).cluster_networks == ("10.96.0.0/12", "10.244.0.0/16", "192.168.100.0/24")
    assert dns.zone(cluster(dns=Dns(upstream="192.168.100.53"))).cluster_networks == ()
