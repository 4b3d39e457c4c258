"""What a user calls a source or a target → a netns, an address, a port. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from emu.api.load import str_of
from emu.api.objects import Service
from emu.api.wrong import did_you_mean
from emu.cluster.model import Cluster, IPAddress
from emu.errors import InputError, NotFound
from emu.names import pod_netns
from emu.trace.model import Flow, TraceResult, Verdict

MOST = 65507  # bytes of payload in the longest IPv4 packet
DEFAULT_PORT = {"tcp": 80, "udp": 53, "icmp": 0}


@dataclass(frozen=True, slots=True)
class Target:
    """`protocol` is "" when the target does not decide it; `port` 0 when none is known."""

    address: IPAddress
    port: int
    protocol: str


def source(cluster: Cluster, text: str) -> tuple[str, str]:
    """(netns, label) of a Pod (`client`, `ns/client`, `pod/client`), a Node (`node1`, `node/node1`) or a router."""
    kind, _, rest = text.partition("/")
    if (kind == "node" and rest in _nodes(cluster)) or (kind == "router" and rest in _routers(cluster)):
        return rest, rest
    wanted = rest if kind == "pod" else text
    pod = next((pod for pod in cluster.pods if pod.key in (wanted, f"default/{wanted}")), None)
    if pod:
        return pod_netns(pod.namespace, pod.name), pod.key
    if text in (*_nodes(cluster), *_routers(cluster)):
        return text, text
    raise _missing(text, cluster)


def place(cluster: Cluster, text: str) -> str:
    """The netns to run something in: NAMESPACE/POD, or a Node's or router's name, which may have a namespace before it
    where that has no such Pod. A bare name that is no Node's is a Pod's of `default`. Raises NotFound."""
    namespace, slash, name = text.rpartition("/")
    machines = (*_nodes(cluster), *_routers(cluster))
    key = text if slash else f"default/{text}"
    pod = next((pod for pod in cluster.pods if pod.key == key), None)
    if pod and (slash or name not in machines):
        return pod_netns(pod.namespace, pod.name)
    if name in machines:
        return name
    raise NotFound("pods" if slash else "nodes", name, hint=did_you_mean(name, _names(cluster, namespace or "default")))


def _missing(text: str, cluster: Cluster) -> InputError:
    return InputError(
        f"no Pod or Node is called {text!r}",
        hint=did_you_mean(text.removeprefix("pod/"), _names(cluster)) or "emu get pods,nodes -A",
    )


def _names(cluster: Cluster, namespace: str = "default") -> tuple[str, ...]:
    """As they may be typed: a Pod of the namespace without it."""
    pods = (pod.key.removeprefix(f"{namespace}/") for pod in cluster.pods)
    return (*_nodes(cluster), *_routers(cluster), *pods)


def _nodes(cluster: Cluster) -> tuple[str, ...]:
    return tuple(node.name for node in cluster.nodes)


def _routers(cluster: Cluster) -> tuple[str, ...]:
    return tuple(router.name for router in cluster.routers)


def target(cluster: Cluster, text: str, family: int = 0) -> Target:
    """`ADDRESS`, `[ADDRESS6]`, a Pod, a Node, a router or a Service, each with `:PORT` or `:portname` behind it. Of its
    addresses the first, or that of the family, 4 or 6."""
    name, port = _split(text)
    named = (
        _service(cluster, name, port, family),
        _pod(cluster, name, port, family),
        _node(cluster, name, family),
    )
    for found in (_literal(name), *named):
        if found:
            return found if not port.isdecimal() else Target(found.address, _number(port, text), found.protocol)
    services = (
        str_of(key).partition(" ")[2].removeprefix("default/") for key in cluster.objects if key[0] == Service.KIND
    )
    raise InputError(
        f"no Pod, Node, Service or address is called {name!r}",
        hint=did_you_mean(name, (*_names(cluster), *services)) or "emu get pods,services,nodes -A",
    )


def flow(
    cluster: Cluster,
    source_text: str,
    target_text: str,
    proto: str = "",
    *,
    size: int | None = None,
    df: bool = False,
    family: int = 0,
) -> Flow:
    """`size` and `df` as in Flow; `family` as in `target`."""
    netns, label = source(cluster, source_text)
    found = target(cluster, target_text, family)
    chosen = proto or found.protocol or ("tcp" if found.port else "icmp")
    if size is not None and chosen == "tcp":
        raise InputError("a size is that of one packet, and TCP sends as it likes", hint="--icmp, or --udp")
    if size is not None and not 0 <= size <= MOST:
        raise InputError(f"the size is {size}, must be 0-{MOST}")
    if df and size is None:
        raise InputError("of what size is the packet that must not be fragmented?", hint="--size BYTES")
    return Flow(
        netns=netns,
        dst=found.address,
        proto=chosen,
        dport=0 if chosen == "icmp" else found.port or DEFAULT_PORT[chosen],
        label=f"{label} → {target_text}",
        size=size,
        df=df,
    )


def remarks(cluster: Cluster, result: TraceResult) -> Iterator[str]:
    """What the path alone does not say of its target."""
    yield from _taker(cluster, result)
    yield from _no_such_port(cluster, result.flow)


def _no_such_port(cluster: Cluster, flow: Flow) -> Iterator[str]:
    asked = (flow.dport, flow.proto.upper())
    services = (each for each in cluster.objects.values() if isinstance(each, Service) and flow.proto != "icmp")
    for each in services:
        known = {(port.port, port.protocol) for port in each.spec.ports}
        if str(flow.dst) in each.spec.cluster_ips and asked not in known:
            name = f"{each.metadata.namespace}/{each.metadata.name}"
            yield f"Service {name} has no port {flow.dport}/{flow.proto.upper()}, it has: {_ports(each)}"


def _ports(service: Service) -> str:
    return ", ".join(f"{each.name or '(unnamed)'} {each.port}/{each.protocol}" for each in service.spec.ports)


def _taker(cluster: Cluster, result: TraceResult) -> Iterator[str]:
    """Where several Pods have the address that was asked for (plain Docker's hosts all count from the same number on)
    it is not said yet which of them the request has come to."""
    holders = [pod.key for pod in cluster.pods if result.flow.dst in pod.addresses]
    if len(holders) < 2 or result.matched is None:
        return
    leg = result.prediction.paths[result.matched].forward
    if leg.verdict is Verdict.DELIVERED:
        took = leg.hops[-1].point.label if leg.hops else result.flow.label.partition(" → ")[0] + " itself"
        yield f"{', '.join(holders)} all have the address {result.flow.dst}: this came to {took}"


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        name, _, port = text[1:].partition("]")
        return name, port.removeprefix(":")
    if text.count(":") > 1:
        return text, ""
    name, _, port = text.partition(":")
    return name, port


def _number(port: str, text: str) -> int:
    if not 1 <= int(port) <= 65535:
        raise InputError(f"the port of {text!r} is {port}, must be 1-65535")
    return int(port)


def _literal(name: str) -> Target | None:
    try:
        return Target(ip_address(name), 0, "")
    except ValueError:
        return None


def _of_family(addresses: Iterable[IPAddress], family: int, whose: str) -> IPAddress:
    every = tuple(addresses)
    fitting = [each for each in every if family in (0, each.version)]
    if not fitting:
        raise InputError(f"{whose} has no IPv{family} address", hint=f"it has: {', '.join(map(str, every))}")
    return fitting[0]


def _service(cluster: Cluster, name: str, port: str, family: int) -> Target | None:
    """A Service before a Pod of the same name. Its first port, or the one of that name or number."""
    services = {
        f"{each.metadata.namespace}/{each.metadata.name}": each
        for each in cluster.objects.values()
        if isinstance(each, Service)
    }
    found = services.get(name.removeprefix("svc/").removeprefix("service/")) or services.get(
        f"default/{name.removeprefix('svc/').removeprefix('service/')}"
    )
    if found is None:
        return None
    if found.spec.cluster_ip in ("", "None"):
        raise InputError(f"Service {name} is headless: it has no address of its own", hint="trace to one of its Pods")
    every = found.spec.cluster_ips or (found.spec.cluster_ip,)
    address = _of_family(map(ip_address, every), family, f"Service {name}")
    ports = [each for each in found.spec.ports if not port or port in (each.name, str(each.port))]
    if not ports:
        if port.isdecimal():
            return Target(address, int(port), "tcp")
        raise InputError(f"Service {name} has no port {port}", hint=f"it has: {_ports(found)}")
    return Target(address, ports[0].port, ports[0].protocol.lower())


def _pod(cluster: Cluster, name: str, port: str, family: int) -> Target | None:
    """A Pod: the container port of that name, ICMP when no port is asked for."""
    wanted = name.removeprefix("pod/")
    pod = next((pod for pod in cluster.pods if pod.key in (wanted, f"default/{wanted}")), None)
    if pod is None:
        return None
    address = _of_family(pod.addresses, family, f"Pod {pod.key}")
    ports = {each.name: each for plan in pod.containers for each in plan.container.ports if each.name}
    if port and not port.isdecimal():
        if port not in ports:
            names = ", ".join(ports) or "none that has a name: give a number"
            raise InputError(f"Pod {pod.key} has no container port called {port!r}", hint=f"it has: {names}")
        return Target(address, ports[port].container_port, ports[port].protocol.lower())
    return Target(address, 0, "tcp" if port else "icmp")


def _node(cluster: Cluster, name: str, family: int) -> Target | None:
    node = next((node for node in cluster.nodes if node.name == name.removeprefix("node/")), None)
    router = next((router for router in cluster.routers if router.name == name.removeprefix("router/")), None)
    found = node or (router.ports[0] if router else None)
    if found is None:
        return None
    return Target(_of_family((each.ip for each in found.addresses), family, f"Node {name}" if node else name), 0, "")
