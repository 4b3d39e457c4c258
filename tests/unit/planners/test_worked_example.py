"""Three Services on one Node: the planned rules read as `iptables-save` printed them on a kernel."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from pathlib import Path

from emu.cluster.model import Backend, Frontend, Node
from emu.netfilter import normal, parse, text
from emu.netfilter.model import Table
from emu.plan.merge import tables
from emu.planners.proxy import iptables

GOLDEN = (Path(__file__).parents[2] / "golden" / "kube-proxy-worked-example.txt").read_text()
NODE = Node(name="node1", index=1, addresses=(ip_interface("192.168.50.11/24"),), pod_cidrs=(), switch="fabric")


def _service(name: str, port_name: str, port: int, address: str, backends: tuple[str, ...]) -> Frontend:
    return Frontend(
        namespace="default",
        service=name,
        port_name=port_name,
        protocol="TCP",
        port=port,
        cluster_ip=ip_address(address),
        backends=tuple(
            Backend(address=ip_address(ip), port=8000 + port if port == 443 else 8080, node=f"node{ip.split('.')[2]}")
            for ip in backends
        ),
        node_port={"np": 30080, "lb": 31234}.get(name, 0),
        load_balancer_ips=(ip_address("192.168.50.240"),) if name == "lb" else (),
        external_local=name == "lb",
        health_check_node_port=32000 if name == "lb" else 0,
    )


SERVICES = (
    _service("web", "http", 80, "10.96.10.10", ("10.244.1.11", "10.244.2.12", "10.244.3.13")),
    _service("np", "", 80, "10.96.20.20", ("10.244.1.21", "10.244.2.22")),
    _service("lb", "https", 443, "10.96.30.30", ("10.244.1.31", "10.244.2.32")),
)


def planned() -> dict[str, Table]:
    part = iptables.ruleset(4, SERVICES, iptables.Options(cluster_cidr="10.244.0.0/16"), NODE)
    return {table.name: without_canaries(table) for table in tables((part,))}


def without_canaries(table: Table) -> Table:
    """The dump was made without the empty chains by which kube-proxy notices that somebody flushed the tables."""
    return Table(table.family, table.name, tuple(c for c in table.chains if not c.name.endswith("-CANARY")))


def test_the_dump_is_reproduced_byte_for_byte() -> None:
    assert text.save(planned()["nat"]) + text.save(planned()["filter"]) == GOLDEN


def test_the_dump_read_back_is_the_plan() -> None:
    for dumped in parse.save(GOLDEN, 4):
        assert normal.same(planned()[dumped.name], dumped) == []
        assert text.delta(dumped, planned()[dumped.name]) == ""
