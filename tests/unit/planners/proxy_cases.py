"""The upstream cases of `tests/data/proxy_cases.json` as Frontends, Nodes and options."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from emu.cluster.model import Backend, Frontend, Node
from emu.plan.model import RulesetPart
from emu.planners.proxy import iptables

CASES: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data" / "proxy_cases.json").read_text())


def frontends(suite: dict[str, Any]) -> Iterator[Frontend]:
    for service in suite["services"]:
        endpoints = suite["endpoints"].get(f"{service['ns']}/{service['name']}", {"ports": {}, "endpoints": []})
        for port in service["ports"]:
            yield _frontend(service, port, endpoints)


def _frontend(service: dict[str, Any], port: dict[str, Any], endpoints: dict[str, Any]) -> Frontend:
    target = endpoints["ports"].get(port["name"])
    return Frontend(
        namespace=service["ns"],
        service=service["name"],
        port_name=port["name"],
        protocol=port["protocol"],
        port=port["port"],
        cluster_ip=ip_address(service["clusterIP"]),
        backends=tuple(_backend(endpoint, target) for endpoint in endpoints["endpoints"] if target),
        node_port=port.get("nodePort", 0),
        external_ips=tuple(map(ip_address, service.get("externalIPs", ()))),
        load_balancer_ips=tuple(map(ip_address, service.get("lbIPs", ()))),
        source_ranges=tuple(map(ip_network, service.get("lbSourceRanges", ()))),
        health_check_node_port=service.get("healthCheckNodePort", 0),
        internal_local=service.get("internalTrafficPolicy") == "Local",
        external_local=service.get("externalTrafficPolicy") == "Local",
        affinity_s=service.get("sessionAffinity") or 0,
    )


def _backend(endpoint: dict[str, Any], port: int) -> Backend:
    return Backend(
        address=ip_address(endpoint["ip"]),
        port=port,
        node=endpoint["node"] or "",
        ready=endpoint["ready"],
        serving=endpoint["serving"],
        terminating=endpoint["terminating"],
    )


def ruleset(suite: dict[str, Any]) -> RulesetPart:
    config = suite["config"]
    options = iptables.Options(
        cluster_cidr=config["localCIDR"] or "",
        masquerade_all=config["masqueradeAll"],
        localhost_node_ports=config["localhostNodePorts"],
        node_port_addresses=tuple(config["nodePortAddresses"] or ()),
        random_fully=config["randomFully"],
        tcp_liberal=config["tcpLiberal"],
    )
    node = Node(
        name=config["hostname"],
        index=1,
        addresses=tuple(map(ip_interface, config["nodeIPs"])),
        pod_cidrs=(),
        switch="fabric",
    )
    return iptables.ruleset(config["family"], tuple(frontends(suite)), options, node)
