"""The kinds of path a topology has, one flow for each: what `emu verify` sends."""

from __future__ import annotations

from collections.abc import Iterator

from emu import names
from emu.cluster.model import Backend, Cluster, Frontend, IPInterface, Pod, Published
from emu.plan.model import IPAddress, Plan
from emu.trace import uplink_flows
from emu.trace.changed import endpoint
from emu.trace.model import Flow

DNS_PORT = 53
_SYSTEM = "kube-system"
PLACES = SAME, OTHER, FAR = ("same Node", "other Node", "other rack")


def every_path(cluster: Cluster, plan: Plan) -> tuple[Flow, ...]:
    """One representative per kind, as far as the cluster has it. Pods of users' namespaces come first."""
    found: dict[tuple[object, ...], Flow] = {}
    for flow in _Kinds(cluster, plan).flows():
        found.setdefault((flow.netns, flow.dst, flow.proto, flow.dport), flow)
    return tuple(found.values())


class _Kinds:
    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self.cluster = cluster
        pods = [pod for pod in cluster.pods if names.pod_netns(pod.namespace, pod.name) in plan.netns]
        self.pods = sorted(pods, key=lambda pod: pod.namespace == _SYSTEM)
        self.unproxied = cluster.topology.proxy.mode == "none"
        self.borne = {each.address.ip for space in plan.netns.values() for each in space.addresses}
        self.family = cluster.families[0] if cluster.families else 4
        self._uplinks = {node.name: node.addresses for node in cluster.nodes}

    def flows(self) -> Iterator[Flow]:
        for version in self.cluster.families:
            self.family = version
            yield from self._between_pods()
            yield from self._services()
            yield from self._nodes()
            yield from self._published()
            yield from self._mesh()
        yield from uplink_flows.flows(self.cluster, self.pods)

    # --- kinds ----------------------------------------------------------------------------------------------------

    def _between_pods(self) -> Iterator[Flow]:
        for place in PLACES:
            pair = self._pair(place)
            if pair:
                yield from self._to_pod(f"Pod to Pod, {place}", pair[0], pair[1])

    def _services(self) -> Iterator[Flow]:
        frontends = [f for f in self.cluster.frontends if f.cluster_ip.version == self.family]
        if self.unproxied:
            virtual = [f for f in frontends if f.cluster_ip in self.borne and self._pod_backends(f)]
            for frontend in virtual[:1]:
                yield from self._to_service("Pod to Service", frontend)
            yield from self._hairpin(virtual)
            for frontend in [f for f in frontends if f not in virtual][:1]:
                yield from self._to_service("Pod to a Service, which nothing translates", frontend)
            return
        served = [f for f in frontends if self._pod_backends(f) and f.service != "kube-dns"]
        for protocol in dict.fromkeys(f.protocol for f in served):
            # The one with the most backends shows the most paths.
            frontend = max((f for f in served if f.protocol == protocol), key=lambda f: len(_ready(f)))
            yield from self._to_service("Pod to Service", frontend)
        for frontend in frontends:
            if frontend.service == "kube-dns" and frontend.port == DNS_PORT and _ready(frontend):
                yield from self._to_service(f"cluster DNS over {frontend.protocol}", frontend)
            if (frontend.namespace, frontend.service) == ("default", "kubernetes"):
                yield from self._to_service("Pod to the API server's Service", frontend)
        yield from self._hairpin(served)
        empty = next((f for f in frontends if not _ready(f)), None)
        if empty:
            yield from self._to_service("Pod to a Service without endpoints", empty)

    def _hairpin(self, served: list[Frontend]) -> Iterator[Flow]:
        """With one backend the Pod is sure to meet itself."""
        frontend = min(served, key=lambda f: len(_ready(f)), default=None)
        pod = self._pod_at(_ready(frontend)[0]) if frontend else None
        if frontend and pod:
            label = f"Pod to itself by its Service: {pod.key} → {_name(frontend)}"
            yield self._flow(_netns(pod), frontend.cluster_ip, frontend.protocol.lower(), frontend.port, label)

    def _nodes(self) -> Iterator[Flow]:
        node = next(iter(self.cluster.nodes), None)
        if node is None:
            return
        for place in PLACES:
            pod = next((p for p in self._listening() if self._place(p.node, node.name) == place), None)
            if pod:
                port = _port(pod)
                label = f"Node to Pod, {place.replace(SAME, 'own Node')}: {node.name} → {pod.key}:{port}"
                yield self._flow(node.name, self._address(pod), "tcp", port, label)
        served = [f for f in self.cluster.frontends if self._pod_backends(f) and f.cluster_ip.version == self.family]
        if served and not self.unproxied:
            best = max(served, key=lambda f: len(_ready(f)))
            label = f"Node to Service: {node.name} → {_name(best)}"
            yield self._flow(node.name, best.cluster_ip, best.protocol.lower(), best.port, label)
        yield from self._pod_to_nodes()

    def _pod_to_nodes(self) -> Iterator[Flow]:
        client = next(iter(self.pods), None)
        for place, said in zip(PLACES, ("its own Node", "another Node", "a Node of another rack"), strict=True):
            nodes = (n for n in self.cluster.nodes if client and self._place(client.node, n.name) == place)
            node = next(nodes, None)
            if client and node:
                address = self._uplink(node.name).ip
                yield self._flow(_netns(client), address, "icmp", 0, f"Pod to {said}: {client.key} → {node.name}")

    def _published(self) -> Iterator[Flow]:
        """To a port of a Node that leads to a container there, from everywhere."""
        server = next((pod for pod in self.pods if _host_port(pod)), None)
        if server is None:
            return
        address, port = self._uplink(server.node).ip, _host_port(server)
        target = f"{server.node}:{port} of {server.key}"
        for place in PLACES:
            node = next((n for n in self.cluster.nodes if self._place(n.name, server.node) == place), None)
            if node:
                label = f"Node to a published port, {place.replace(SAME, 'its own')}: {node.name} → {target}"
                yield self._flow(node.name, address, "tcp", port, label)
            others = (p for p in self.pods if p is not server)
            pod = next((p for p in others if self._place(p.node, server.node) == place), None)
            if pod:
                label = f"Pod to a published port, {place}: {pod.key} → {target}"
                yield self._flow(_netns(pod), address, "tcp", port, label)
        label = f"Pod to itself by its published port: {server.key} → {target}"
        yield self._flow(_netns(server), address, "tcp", port, label)

    def _mesh(self) -> Iterator[Flow]:
        """To a port of a Node that leads to a Service, at a Node with no Pod of it if there is one."""
        found = [(each, self._behind(each)) for each in self.cluster.published]
        asked, pods = next(((each, pods) for each, pods in found if pods), (None, []))
        port = next((port for port in asked.ports if port.protocol == "TCP"), None) if asked else None
        if asked is None or port is None:
            return
        busy = {pod.node for pod in pods}
        node = min(self.cluster.nodes, key=lambda each: each.name in busy)
        address, target = self._uplink(node.name).ip, f"{node.name}:{port.number} of {asked.namespace}/{asked.service}"
        for place in PLACES:
            asking = next((n for n in self.cluster.nodes if self._place(n.name, node.name) == place), None)
            if asking:
                label = f"Node to a Service's port, {place.replace(SAME, 'its own')}: {asking.name} → {target}"
                yield self._flow(asking.name, address, "tcp", port.number, label)
            pod = next((p for p in self.pods if p not in pods and self._place(p.node, node.name) == place), None)
            if pod:
                label = f"Pod to a Service's port, {place}: {pod.key} → {target}"
                yield self._flow(_netns(pod), address, "tcp", port.number, label)
        label = f"Pod to its own Service's port: {pods[0].key} → {target}"
        yield self._flow(_netns(pods[0]), address, "tcp", port.number, label)

    def _behind(self, asked: Published) -> list[Pod]:
        own = [f for f in self.cluster.frontends if (f.namespace, f.service) == (asked.namespace, asked.service)]
        pods = {pod.key: pod for frontend in own for each in _ready(frontend) if (pod := self._pod_at(each))}
        return list(pods.values())

    # --- pieces ---------------------------------------------------------------------------------------------------

    def _to_pod(self, kind: str, client: Pod, server: Pod) -> Iterator[Flow]:
        address, port = self._address(server), _port(server)
        if port:
            label = f"{kind}: {client.key} → {server.key}:{port}"
            yield self._flow(_netns(client), address, "tcp", port, label)
        yield self._flow(_netns(client), address, "icmp", 0, f"{kind}, ping: {client.key} → {server.key}")

    def _to_service(self, kind: str, frontend: Frontend) -> Iterator[Flow]:
        backends = {backend.address for backend in frontend.backends}
        client = next((pod for pod in self.pods if not backends & set(pod.addresses)), None)
        if client:
            label = f"{kind}: {client.key} → {_name(frontend)}"
            yield self._flow(_netns(client), frontend.cluster_ip, frontend.protocol.lower(), frontend.port, label)

    def _flow(self, netns: str, dst: IPAddress, proto: str, dport: int, label: str) -> Flow:
        return Flow(netns=netns, dst=dst, proto=proto, dport=dport, label=label)

    def _pair(self, place: str) -> tuple[Pod, Pod] | None:
        """A client and a server; the server has a port if any such has one."""
        servers = (*self._listening(), *self.pods)
        pairs = ((a, b) for b in servers for a in self.pods if a is not b and self._place(a.node, b.node) == place)
        return next(pairs, None)

    def _place(self, here: str, there: str) -> str:
        """Where one Node is from another; Nodes of one Node network are in one rack."""
        if here == there:
            return SAME
        return OTHER if self._uplink(here).network == self._uplink(there).network else FAR

    def _uplink(self, node: str) -> IPInterface:
        return next(each for each in self._uplinks[node] if each.ip.version == self.family)

    def _listening(self) -> list[Pod]:
        return [pod for pod in self.pods if _port(pod)]

    def _address(self, pod: Pod) -> IPAddress:
        return next(address for address in pod.addresses if address.version == self.family)

    def _pod_at(self, backend: Backend) -> Pod | None:
        """On another Node another Pod may have the same address."""
        found = (pod for pod in self.pods if backend.address in pod.addresses and backend.node in ("", pod.node))
        return next(found, None)

    def _pod_backends(self, frontend: Frontend) -> list[Backend]:
        return [backend for backend in _ready(frontend) if self._pod_at(backend)]


def _ready(frontend: Frontend) -> list[Backend]:
    return [backend for backend in frontend.backends if backend.ready]


def _netns(pod: Pod) -> str:
    return names.pod_netns(pod.namespace, pod.name)


def _name(frontend: Frontend) -> str:
    return f"{frontend.namespace}/{frontend.service}:{frontend.port} ({endpoint(frontend.cluster_ip, 0)})"


def _port(pod: Pod) -> int:
    """The first TCP port its containers declare; 0 for none."""
    ports = (port for each in pod.containers for port in each.container.ports if port.protocol == "TCP")
    return next((port.container_port for port in ports), 0)


def _host_port(pod: Pod) -> int:
    """The first TCP port of its Node that leads to it; 0 for none."""
    ports = (port for each in pod.containers for port in each.container.ports if port.protocol == "TCP")
    return next((port.host_port for port in ports if port.host_port), 0)
