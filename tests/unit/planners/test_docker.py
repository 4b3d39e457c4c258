"""Plain Docker: the rules dockerd keeps, by version, and where packets end when every host has the same range."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import ip_address

import pytest
import shipped

from emu import planners
from emu.api.topology import Cni
from emu.errors import InputError
from emu.names import pod_netns
from emu.netfilter import text
from emu.plan.model import Plan
from emu.trace.model import Flow, Path, Verdict
from emu.trace.predict import predict

ONE, TWO = "one-host-docker", "two-hosts-docker"

NAT = """\
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
"""
DNAT = "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\n"
TO_ITSELF = "-A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE\n"
FILTER_28 = """\
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-INTERNAL
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
"""
FILTER_27 = """\
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
"""
RAW_28 = "".join(f"-A PREROUTING -d 172.17.0.{n}/32 ! -i docker0 -j DROP\n" for n in (3, 2))
WITHOUT_PROXY = """\
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -o docker0 -m addrtype --src-type LOCAL -j MASQUERADE
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
"""


@cache
def plan(folder: str, docker: int = 28, userland_proxy: bool = True) -> Plan:
    cluster = shipped.cluster(folder)
    cni = Cni(mode="docker", options={"docker": docker, "userland_proxy": userland_proxy})
    return planners.build(replace(cluster, topology=replace(cluster.topology, cni=cni)))


def rules(made: Plan, table: str, netns: str = "node1") -> str:
    found = [each for each in made.netns[netns].tables if each.name == table]
    return "".join(f"{text.rule('', c.name, r)}\n" for each in found for c in each.chains for r in c.rules)


def send(folder: str, source: str, address: str, port: int = 80, **options: object) -> Path:
    """The most probable path of a TCP connection from a Pod or host."""
    made = plan(folder, **options)  # type: ignore[arg-type]
    netns = source if source in made.netns else pod_netns("default", source)
    proto = "tcp" if port else "icmp"
    return predict(made, Flow(netns=netns, dst=ip_address(address), proto=proto, dport=port)).paths[0]


def arrival(path: Path) -> str:
    """Where it was last seen, and with which addresses."""
    hop = path.forward.hops[-1]
    return f"{hop.point} {hop.inner.src} → {hop.inner.dst}:{hop.inner.dport}"


@pytest.mark.parametrize(
    ("options", "nat", "filtering", "raw"),
    [
        ({"docker": 28}, NAT + DNAT, FILTER_28, RAW_28),
        ({"docker": 27}, NAT + TO_ITSELF + "-A DOCKER -i docker0 -j RETURN\n" + DNAT, FILTER_27, ""),
        (
            {"docker": 28, "userland_proxy": False},
            WITHOUT_PROXY + TO_ITSELF + DNAT.replace("! -i docker0 ", ""),
            FILTER_28,
            RAW_28,
        ),
        (
            {"docker": 27, "userland_proxy": False},
            WITHOUT_PROXY + TO_ITSELF + DNAT.replace("! -i docker0 ", ""),
            FILTER_27,
            "",
        ),
    ],
)
def test_the_rules_are_those_of_the_version(options: dict[str, object], nat: str, filtering: str, raw: str) -> None:
    made = plan(ONE, **options)  # type: ignore[arg-type]
    assert [rules(made, table) for table in ("nat", "filter", "raw")] == [nat, filtering, raw]
    (table,) = (each for each in made.netns["node1"].tables if each.name == "filter")
    assert [chain.policy for chain in table.chains if chain.name == "FORWARD"] == ["DROP"]


def test_every_host_has_the_same_address_and_the_containers_too() -> None:
    netns = plan(TWO).netns
    own = {name: [str(a.address) for a in netns[name].addresses if a.dev == "docker0"] for name in ("node1", "node2")}
    assert own == {"node1": ["172.17.0.1/16"], "node2": ["172.17.0.1/16"]}
    assert {str(each.address) for name in ("web1", "web2") for each in netns[f"default.{name}"].addresses} == {
        "172.17.0.2/16"
    }


def test_a_container_s_mac_tells_its_address_before_28() -> None:
    macs = [plan(ONE, docker=version).netns["default.web"].links[0].mac for version in (27, 28)]
    assert macs[0] == "02:42:ac:11:00:02" != macs[1]


def test_a_published_port_leads_to_the_container_from_the_host_and_from_other_hosts() -> None:
    for source, seen in (("node1", "192.168.100.11"), ("node2", "192.168.100.12"), ("client2", "192.168.100.12")):
        path = send(TWO, source, "192.168.100.11", 8080)
        assert arrival(path) == f"default/web1:eth0 {seen} → 172.17.0.2:80"
        assert path.reply is not None and path.reply.verdict is Verdict.DELIVERED


def test_outside_a_container_has_its_host_s_address() -> None:
    path = send(TWO, "client1", "192.168.100.12", 0)
    assert arrival(path) == "node2:eth0 192.168.100.11 → 192.168.100.12:0"
    assert path.reply is not None and path.reply.hops[-1].point.netns == "default.client1"


def test_the_address_of_another_host_s_container_is_nobody_s_or_another_s() -> None:
    """db is 172.17.0.4 on node2; web2 is 172.17.0.2 there, as web1 is on node1."""
    nobody = send(TWO, "client1", "172.17.0.4")
    assert nobody.forward.reason == "nobody answers ARP for 172.17.0.4 on default/client1:eth0"
    assert arrival(send(TWO, "client1", "172.17.0.2")) == "default/web1:eth0 172.17.0.3 → 172.17.0.2:80"
    itself = send(TWO, "client1", "172.17.0.3", 0)
    assert itself.forward.hops == () and itself.forward.verdict is Verdict.DELIVERED


def test_without_the_userland_proxy_the_kernel_translates_what_comes_from_docker0_and_for_127_0_0_1() -> None:
    noproxy = {"userland_proxy": False}
    assert arrival(send(ONE, "client", "172.17.0.1", 8080, **noproxy)).endswith("172.17.0.3 → 172.17.0.2:80")
    assert arrival(send(ONE, "web", "172.17.0.1", 8080, **noproxy)).endswith("172.17.0.1 → 172.17.0.2:80")
    path = send(ONE, "node1", "127.0.0.1", 8080, **noproxy)
    assert arrival(path) == "default/web:eth0 172.17.0.1 → 172.17.0.2:80"
    assert path.reply is not None and path.reply.verdict is Verdict.DELIVERED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"docker": 26}, "cni.options.docker is 26, must be 27 or 28"),
        ({"docker": True}, "docker is true, must be 27 or 28"),
        ({"userland_proxy": 1}, "userland_proxy is 1, must be true or false"),
        ({"icc": False}, "unknown option icc"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, object], message: str) -> None:
    cluster = shipped.cluster(ONE)
    wrong = replace(cluster.topology, cni=Cni(mode="docker", options=options))
    with pytest.raises(InputError, match=message):
        planners.build(replace(cluster, topology=wrong))


def test_another_family_is_refused() -> None:
    cluster = shipped.cluster(ONE)
    with pytest.raises(InputError, match="must be ipv4"):
        planners.build(replace(cluster, topology=replace(cluster.topology, family="ipv6")))


def test_each_published_port_has_a_userland_proxy_unless_that_is_off() -> None:
    (proxy,) = plan(ONE).netns["node1"].daemons
    assert " ".join(proxy.argv[3:]) == (
        "-proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80"
    )
    assert plan(ONE, userland_proxy=False).netns["node1"].daemons == ()


def test_what_comes_from_docker0_for_the_host_is_the_userland_proxy_s() -> None:
    path = send(ONE, "client", "172.17.0.1", 8080)
    assert arrival(path) == "node1:docker0 172.17.0.3 → 172.17.0.1:8080"
    assert path.reply is not None and path.reply.hops[0].inner.note == "SYN-ACK"
