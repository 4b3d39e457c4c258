"""NAME
    docker: plain Docker on each host, knowing nothing of the others

PACKET PATH
    container          host 1                                            host 2
    eth0 ── veth… ── docker0 ── (route, MASQUERADE) ── eth0 ────────── eth0
            172.17.0.1/16, the same on every host
    On one host: over docker0.
    To anything else: from the host's address, so that the other side sees the host.
    To a container of another host: nowhere. Its address lies in the sender's own 172.17.0.0/16: it is asked for on the
    sender's docker0, where nobody answers, or another container, or the sender itself.
    To a published port (`hostPort`, docker run -p): host address:PORT, DNAT to the container; across hosts too. Who
    asks from docker0, or for 127.0.0.1, is served by docker-proxy: the container sees 172.17.0.1.

KERNEL OBJECTS, on each host
    docker0     bridge, the range's first address; one veth port for each container
    nat         DOCKER, from PREROUTING and OUTPUT for local destinations; POSTROUTING -s RANGE ! -o docker0 MASQUERADE
    filter      FORWARD policy DROP; DOCKER-USER; Docker 27: DOCKER, DOCKER-ISOLATION-STAGE-1 and -2;
                28: DOCKER-FORWARD, DOCKER-CT, DOCKER-INTERNAL, DOCKER-BRIDGE, DOCKER
    raw         28: PREROUTING drops what comes for a container's address by another device than docker0
    processes   docker-proxy, one for each published port
    container   eth0 with the range's prefix, default via docker0; MAC 02:42 and the address before 28, then any

OPTIONS
    docker: 27 or 28 (28)
    userland_proxy: false: every way to a published port is translated by the kernel (DNAT also from docker0 and for
    127.0.0.1, route_localnet, hairpin ports), and there is no docker-proxy. true (the default)
    mtu: of docker0 and the containers (1500, whatever the uplink has)

BRINGS
    ranges.pods 172.17.0.0/16, proxy none, no cluster DNS, no kubelet's chains

MTU
    1500, as nothing is put around a packet. Docker does not look at the uplink.

LIMITS
    IPv4 only. There are no user-defined networks, so no 127.0.0.11 and no names of containers.
    Docker 28 draws a MAC for each container and tells the neighbors by gratuitous ARP; here it is drawn for each
    address of a host, so that an address given again has the MAC that its neighbors know.
    dockerd loads br_netfilter until 27 and without the userland proxy; here every host has it, so that packets between
    two containers of a host pass FORWARD.

SOURCES
    moby/moby libnetwork/drivers/bridge; integration/network/bridge/iptablesdoc/generated
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from emu import names
from emu.api.topology import Topology
from emu.api.wrong import Wrong, shown
from emu.cluster.model import Cluster, IPNetwork, Pod
from emu.memo import Memo
from emu.plan.merge import Fragment, Rules
from emu.plan.model import NetnsKind, NetnsPlan, Sysctl
from emu.planners import choices
from emu.planners.cni import docker_bridge, docker_proxy, docker_rules
from emu.planners.cni.docker_bridge import Network
from emu.planners.cni.docker_rules import Bridge, Container, Published

NAME = "docker"
BRIDGE = "docker0"
VERSIONS = (27, 28)
DEFAULT_MTU = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    docker: int = 28
    userland_proxy: bool = True
    mtu: int = DEFAULT_MTU


def check(topology: Topology) -> None:
    options_of(topology.cni.options)
    if topology.family != "ipv4":
        raise Wrong(f"is {topology.family}, must be ipv4 with cni {NAME}", "family")


def plan(cluster: Cluster) -> Iterator[Fragment]:
    options = options_of(cluster.topology.cni.options)
    network = _network(cluster.pod_ranges[0], options)
    for node in cluster.nodes:
        yield _bridge((cluster.name, node.name), cluster.seed, node.name, network, _sysctls(options))
        containers = tuple(_container(pod) for pod in cluster.pods_on(node.name))
        if options.userland_proxy:
            yield _proxies((cluster.name, node.name), node.name, containers)
        bridges = (Bridge(BRIDGE, network.range, containers),)
        part = docker_rules.part((cluster.name, node.name), bridges, options.docker, options.userland_proxy)
        yield Rules(node.name, part)
    for pod in cluster.pods:
        key = (cluster.name, pod.namespace, pod.name)
        yield from _link(key, cluster.seed, pod, network, names.POD_ETH, pod.addresses[0])


def _network(range_: IPNetwork, options: Options) -> Network:
    assert isinstance(range_, IPv4Network)
    return Network(
        bridge=BRIDGE,
        range=range_,
        mtu=options.mtu,
        hairpin=not options.userland_proxy,
        mac_of_address=options.docker < 28,
    )


def _sysctls(options: Options) -> tuple[Sysctl, ...]:
    to_localhost = Sysctl(key=f"net.ipv4.conf.{BRIDGE}.route_localnet", value="1")
    return () if options.userland_proxy else (to_localhost,)


def options_of(given: Mapping[str, object]) -> Options:
    known = {"docker": VERSIONS, "userland_proxy": (True, False), "mtu": range(68, 65536)}
    for key, value in given.items():
        if key not in known:
            raise choices.unknown("cni", NAME, key, known)
        if value not in known[key] or isinstance(value, bool) != (key == "userland_proxy"):
            allowed = {"docker": "27 or 28", "userland_proxy": "true or false", "mtu": "68-65535"}
            raise Wrong(f"is {shown(value)}, must be {allowed[key]}", "cni", "options", key)
    return Options(**given)  # type: ignore[arg-type]


def _container(pod: Pod) -> Container:
    ports = (port for each in pod.containers for port in each.container.ports if port.host_port)
    published = (Published(port.protocol.lower(), port.host_port, port.container_port) for port in ports)
    return Container(str(pod.addresses[0]), tuple(published))


_bridge: Memo[NetnsPlan] = Memo(docker_bridge.bridge)


def _make_proxies(node: str, containers: tuple[Container, ...]) -> NetnsPlan:
    return NetnsPlan(name=node, kind=NetnsKind.NODE, owner=node, daemons=docker_proxy.daemons(containers))


_proxies: Memo[NetnsPlan] = Memo(_make_proxies)


_link: Memo[tuple[NetnsPlan, NetnsPlan]] = Memo(docker_bridge.link, size=1 << 15)
