"""Ports of every Node that lead to a Service: how they are asked for, what is refused, and in which words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_world import again, cluster, get, pod, service, topology

from emu.api import load
from emu.api.objects import Service
from emu.api.published import ANNOTATION, Port, ports
from emu.api.topology import Cni, Proxy, Ranges, Topology
from emu.cluster.update import updated
from emu.errors import InputError


def swarm(mode: str = "vip") -> Topology:
    ranges = Ranges(pods=("10.0.1.0/25",), services=("10.0.1.128/26",))
    cni = Cni(mode="docker-swarm", options={"endpoint_mode": mode})
    return topology(2, cni=cni, proxy=Proxy(mode="none"), ranges=ranges)


def publishing(name: str, text: str, **spec: object) -> Service:
    plain = service(name, **spec)
    return replace(plain, metadata=replace(plain.metadata, annotations={ANNOTATION: text}))


def test_ports_are_those_of_docker_service_create() -> None:
    lab = cluster(publishing("web", "8080:80, 5353:53/udp,8080:80/udp"), service("db"), pod("a"), topo=swarm())
    (found,) = lab.published
    assert (found.namespace, found.service) == ("default", "web")
    assert found.ports == (Port("TCP", 8080, 80), Port("UDP", 5353, 53), Port("UDP", 8080, 80))


def manifest(text: str, spec: str = "{selector: {app: web}, ports: [{port: 80}]}") -> str:
    meta = f'{{name: web, annotations: {{kube-emu.io/publish: "{text}"}}}}'
    return f"apiVersion: v1\nkind: Service\nmetadata: {meta}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("8080", "is 8080, must be PUBLISHED:TARGET or PUBLISHED:TARGET/PROTOCOL, as 8080:80"),
        ("", 'is "", must be PUBLISHED:TARGET'),
        ("8080:80,", 'is "", must be PUBLISHED:TARGET'),
        ("0.0.0.0:8080:80", "is 0.0.0.0:8080:80, must be PUBLISHED:TARGET"),
        ("8080:http", "is 8080:http, must be PUBLISHED:TARGET"),
        ("0:80", "is 0, must be 1-65535"),
        ("8080:65536", "is 65536, must be 1-65535"),
        ("8080:80/icmp", "is 8080:80/icmp, whose protocol must be tcp, udp, sctp"),
        ("8080:80,9090:90,8080:81", "publishes 8080/tcp twice"),
    ],
)
def test_what_is_no_port_is_refused_at_its_line(text: str, wrong: str) -> None:
    with pytest.raises(InputError) as refused:
        load.parse_manifests(manifest(text), "web.yaml")
    assert f'web.yaml:3: Service default/web: metadata.annotations["{ANNOTATION}"] {wrong}' in str(refused.value)


def test_a_service_without_a_virtual_address_publishes_nothing() -> None:
    spec = "{clusterIP: None, selector: {app: web}, ports: [{port: 80}]}"
    with pytest.raises(InputError, match="but clusterIP None is endpoint mode dnsrr, in which nothing is published"):
        load.parse_manifests(manifest("8080:80", spec), "web.yaml")


@pytest.mark.parametrize(
    ("topo", "wrong"),
    [
        (topology(), "with cni flannel-vxlan no port of a Node leads to a Service"),
        (swarm("dnsrr"), "with cni docker-swarm and endpoint_mode dnsrr no port of a Node leads to a Service"),
        (replace(swarm(), cni=Cni(mode="docker-swarm")), "with cni docker-swarm and endpoint_mode not set no port"),
    ],
)
def test_where_no_port_leads_to_a_service_it_is_refused_with_what_can(topo: Topology, wrong: str) -> None:
    with pytest.raises(InputError) as refused:
        cluster(publishing("web", "8080:80"), topo=topo)
    assert f"Service default/web: annotation {ANNOTATION}: {wrong}" in str(refused.value)
    assert "or use cni: {mode: docker-swarm, options: {endpoint_mode: vip}}" in str(refused.value)


def test_a_port_that_another_service_has_is_refused_in_swarms_words() -> None:
    with pytest.raises(InputError, match=r"port 8080/tcp is already in use by Service default/\w+ as an ingress port"):
        cluster(publishing("web", "8080:80"), publishing("shop", "9090:90,8080:8080"), topo=swarm())
    lab = cluster(publishing("web", "8080:80"), publishing("dns", "8080:53/udp"), topo=swarm())
    with pytest.raises(
        InputError, match=r"Service default/late: annotation .* 8080/udp is already in use by Service default/dns"
    ):
        again(lab, publishing("late", "8080:53/udp"))
    assert len(again(lab, publishing("late", "8081:80")).published) == 3


def test_a_manifest_without_it_takes_the_ports_back() -> None:
    lab = cluster(publishing("web", "8080:80"), topo=swarm())
    new = updated(get(lab, "Service", "web"), service("web"))
    assert ports(new.metadata.annotations) == () and again(lab, new).published == ()
