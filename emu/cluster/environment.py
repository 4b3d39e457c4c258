"""The environment of a container: the Service variables of its Pod, downward fields, its own `env`, `$(VAR)` expanded.

Source: kubernetes pkg/kubelet/envvars/envvars.go, pkg/kubelet/kubelet_pods.go, third_party/forked/golang/expansion.
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping

from emu.api.objects import Container, EnvVar, ObjectMeta, Objects, Pod, Service, ServicePort
from emu.cluster.objectmap import of_kind
from emu.errors import InputError
from emu.memo import by_identity

# containerd's default for an image that sets none
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MASTER_SERVICE = ("default", "kubernetes")  # kubelet: every Pod sees this one, whatever its namespace

_REFERENCE = re.compile(r"\$(?:\$|\(([^()$]*)\))")
_OF_METADATA = ("metadata.name", "metadata.namespace", "metadata.uid")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def service_variables(services: Iterable[Service]) -> dict[str, str]:
    """The variables of these Services, in kubelet's order; headless ones have none."""
    return {name: value for service in services if _has_address(service) for name, value in _variables(service)}


def _has_address(service: Service) -> bool:
    return service.spec.cluster_ip not in ("", "None") and bool(service.spec.ports)


def _variables(service: Service) -> Iterator[tuple[str, str]]:
    prefix, address = variable_name(service.metadata.name), service.spec.cluster_ip
    first, *_ = service.spec.ports
    yield f"{prefix}_SERVICE_HOST", address
    yield f"{prefix}_SERVICE_PORT", str(first.port)
    for port in service.spec.ports:
        if port.name:
            yield f"{prefix}_SERVICE_PORT_{variable_name(port.name, digit_first=True)}", str(port.port)
    yield f"{prefix}_PORT", _url(address, first)
    for port in service.spec.ports:
        yield from _port_variables(f"{prefix}_PORT_{port.port}_{port.protocol}", address, port)


def _port_variables(prefix: str, address: str, port: ServicePort) -> Iterator[tuple[str, str]]:
    yield prefix, _url(address, port)
    yield f"{prefix}_PROTO", port.protocol.lower()
    yield f"{prefix}_PORT", str(port.port)
    yield f"{prefix}_ADDR", address


def _url(address: str, port: ServicePort) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"{port.protocol.lower()}://{host}:{port.port}"


def variable_name(name: str, *, digit_first: bool = False) -> str:
    plain = name.upper().replace("-", "_").replace(".", "_")
    return f"_{plain}" if plain[:1].isdigit() and not digit_first else plain


def seen_by(objects: Objects, namespace: str, *, links: bool) -> Mapping[str, str]:
    """What a Pod of the namespace that starts now sees. `links` is the Pod's `enableServiceLinks`."""
    services = sorted(of_kind(objects, Service), key=lambda service: service.metadata.name)
    master = [service for service in services if (service.metadata.namespace, service.metadata.name) == MASTER_SERVICE]
    own = [service for service in services if links and service.metadata.namespace == namespace]
    return _shared(*{id(service): service for service in (*master, *own)}.values())


@by_identity
def _shared(*services: Service) -> Mapping[str, str]:
    """One mapping for all Pods of a namespace, and the same one as long as the Services are."""
    return service_variables(services)


def of_container(
    pod: Pod, container: Container, base: Mapping[str, str], services: Mapping[str, str]
) -> Mapping[str, str]:
    """`base` (the runtime's own), the Service variables over it, and the container's `env` over both, in order: an
    entry may refer to all before it. The Service variables are not copied: there are hundreds, the same for all
    Pods of a namespace."""
    own = {name: value for name, value in base.items() if name not in services}
    env = ChainMap(own, services)  # type: ignore[arg-type]  # nobody writes to it
    for variable in container.env:
        own[variable.name] = _value(pod, variable, env)
    return env


def _value(pod: Pod, variable: EnvVar, env: Mapping[str, str]) -> str:
    if variable.value_from is None:
        return expanded(variable.value, env)
    return _field(pod, variable.value_from.field_ref.field_path)


def of_metadata(meta: ObjectMeta, path: str) -> str | None:
    """What a fieldPath stands for in a Pod's metadata; None if it leads elsewhere."""
    if subscript := _SUBSCRIPT.fullmatch(path):
        found: str = getattr(meta, subscript[1]).get(subscript[2], "")
        return found
    return {name: getattr(meta, name.removeprefix("metadata.")) for name in _OF_METADATA}.get(path)


def _field(pod: Pod, path: str) -> str:
    meta, status = pod.metadata, pod.status
    if (found := of_metadata(meta, path)) is not None:
        return found
    plain = {
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": status.host_ip,
        "status.hostIPs": status.host_ip,
        "status.podIP": status.pod_ip,
        "status.podIPs": ",".join(entry.ip for entry in status.pod_ips),
    }
    if path not in plain:
        known = ", ".join((*_OF_METADATA, *plain, "metadata.labels['KEY']", "metadata.annotations['KEY']"))
        raise InputError(
            f"fieldRef.fieldPath is {path!r}, must be one of {known}", subject=f"Pod {meta.namespace}/{meta.name}"
        )
    return plain[path]


def expanded(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` becomes the variable's value, or stays when there is none; `$$` is a plain `$`."""
    return _REFERENCE.sub(lambda found: "$" if found[1] is None else env.get(found[1], found[0]), text)
