"""Kubernetes' rules for what a Pod runs."""

from __future__ import annotations

import re
from collections.abc import Mapping

from emu.api import rules
from emu.api.objects import Container, EnvVar, PodSpec, Probe
from emu.api.wrong import Wrong, dotted, shown

PROTOCOLS = ("TCP", "UDP", "SCTP")
IP_ANNOTATION = "kube-emu.io/ip"

#: What the downward API offers. Source: kubernetes pkg/apis/core/validation, validEnvDownwardAPIFieldPathExpressions.
FIELD_PATHS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['[^']+'\]")


def pod_spec(spec: PodSpec, *path: str) -> None:
    if not spec.containers:
        raise Wrong("is empty, must have one container at least", *path, "containers")
    seen: dict[str, str] = {}
    for field, containers in (("containers", spec.containers), ("initContainers", spec.init_containers)):
        for index, each in enumerate(containers):
            _container(each, *path, field, index)
            if each.name in seen:
                raise Wrong(f"is {each.name}, which {seen[each.name]} has too", *path, field, index, "name")
            seen[each.name] = dotted((*path, field, index))
            if field == "initContainers":
                _no_probes(each, *path, field, index)
    rules.one_of(spec.restart_policy, ("Always", "OnFailure", "Never"), *path, "restartPolicy")
    rules.at_least(spec.termination_grace_period_seconds, 0, *path, "terminationGracePeriodSeconds")
    rules.labels(spec.node_selector, *path, "nodeSelector")
    for field, name in (("hostname", spec.hostname), ("subdomain", spec.subdomain)):
        if name:
            rules.label(name, *path, field)
    for index, alias in enumerate(spec.host_aliases):
        rules.address(alias.ip, *path, "hostAliases", index, "ip")
        for number, name in enumerate(alias.hostnames):
            rules.subdomain(name, *path, "hostAliases", index, "hostnames", number)
    _dns(spec, *path)


def _dns(spec: PodSpec, *path: str) -> None:
    """Limits of the resolver: 3 servers, 32 search domains, 2048 characters of them."""
    policies = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
    rules.one_of(spec.dns_policy, policies, *path, "dnsPolicy")
    config, at = spec.dns_config, (*path, "dnsConfig")
    if spec.dns_policy == "None" and not (config and config.nameservers):
        raise Wrong("must be given with dnsPolicy None", *at, "nameservers")
    if config is None:
        return
    for field, values, most in (("nameservers", config.nameservers, 3), ("searches", config.searches, 32)):
        if len(values) > most:
            raise Wrong(f"has {len(values)} items, must have {most} at most", *at, field)
    for index, server in enumerate(config.nameservers):
        rules.address(server, *at, "nameservers", index)
    for index, search in enumerate(config.searches):
        if search != ".":
            rules.subdomain(search.removesuffix("."), *at, "searches", index)
    if len(" ".join(config.searches)) > 2048:
        raise Wrong("has more than 2048 characters", *at, "searches")


def _container(container: Container, *path: str | int) -> None:
    rules.label(container.name, *path, "name")
    if not container.image or container.image != container.image.strip():
        raise Wrong(f"is {shown(container.image)}, must be an image's name", *path, "image")
    for index, port in enumerate(container.ports):
        at = (*path, "ports", index)
        rules.port(port.container_port, *at, "containerPort")
        rules.one_of(port.protocol, PROTOCOLS, *at, "protocol")
        if port.name:
            rules.port_name(port.name, *at, "name")
        if port.host_port:
            rules.port(port.host_port, *at, "hostPort")
    rules.unique((port.name for port in container.ports), *path, "ports", field=("name",))
    host_ports = (f"{port.host_port}/{port.protocol}" if port.host_port else "" for port in container.ports)
    rules.unique(host_ports, *path, "ports", field=("hostPort",))
    for index, variable in enumerate(container.env):
        _env(variable, *path, "env", index)
    names = {port.name: port.container_port for port in container.ports if port.name}
    for field, probe in _probes(container):
        if probe:
            _probe(probe, names, *path, field)
            if field != "readinessProbe" and probe.success_threshold != 1:
                raise Wrong(f"is {probe.success_threshold}, must be 1", *path, field, "successThreshold")


def _probes(container: Container) -> tuple[tuple[str, Probe | None], ...]:
    return (
        ("readinessProbe", container.readiness_probe),
        ("livenessProbe", container.liveness_probe),
        ("startupProbe", container.startup_probe),
    )


def _no_probes(container: Container, *path: str | int) -> None:
    for field, probe in _probes(container):
        if probe:
            raise Wrong("must not be given for an init container", *path, field)


def _env(variable: EnvVar, *path: str | int) -> None:
    rules.env_name(variable.name, *path, "name")
    if variable.value_from is None:
        return
    if variable.value:
        raise Wrong("must not be given beside value", *path, "valueFrom")
    field_path = variable.value_from.field_ref.field_path
    if not _SUBSCRIPT.fullmatch(field_path):
        rules.one_of(field_path, (*FIELD_PATHS, "metadata.labels['KEY']"), *path, "valueFrom", "fieldRef", "fieldPath")


def _probe(probe: Probe, names: Mapping[str, int], *path: str | int) -> None:
    actions = {"httpGet": probe.http_get, "tcpSocket": probe.tcp_socket, "exec": probe.exec}
    given = [name for name, action in actions.items() if action]
    if len(given) != 1:
        raise Wrong(f"has {' and '.join(given) or 'no action'}, must have one of {', '.join(actions)}", *path)
    if action := probe.http_get or probe.tcp_socket:
        at = (*path, given[0], "port")
        rules.port_or_name(action.port, *at)
        if isinstance(action.port, str) and action.port not in names:
            raise Wrong(f"is {action.port}, which is no port of this container", *at)
    if probe.http_get:
        rules.one_of(probe.http_get.scheme, ("HTTP", "HTTPS"), *path, "httpGet", "scheme")
    if probe.exec and not probe.exec.command:
        raise Wrong("is empty", *path, "exec", "command")
    rules.at_least(probe.initial_delay_seconds, 0, *path, "initialDelaySeconds")
    rules.at_least(probe.period_seconds, 1, *path, "periodSeconds")
    rules.at_least(probe.timeout_seconds, 1, *path, "timeoutSeconds")
    rules.at_least(probe.success_threshold, 1, *path, "successThreshold")
    rules.at_least(probe.failure_threshold, 1, *path, "failureThreshold")


def ip_annotation(annotations: Mapping[str, str], *path: str) -> None:
    """`kube-emu.io/ip` asks for a Pod's address: one, or one of each family with a comma between."""
    for text in annotations.get(IP_ANNOTATION, "").split(","):
        if text or IP_ANNOTATION in annotations:
            rules.address(text.strip(), *path, IP_ANNOTATION)
