"""Which UDP flows must be forgotten when endpoints and Services come and go."""

from __future__ import annotations

from ipaddress import ip_address

from emu.cluster.model import Backend, Frontend
from emu.cluster.staleflows import StaleFlow, refusing, stale_flows

VIP, ONE, TWO = ip_address("10.96.7.7"), ip_address("10.244.1.5"), ip_address("10.244.2.5")
ALL = StaleFlow(address=VIP, port=53)


def ready(*addresses: object) -> tuple[Backend, ...]:
    return tuple(Backend(address=address, port=53) for address in addresses)  # type: ignore[arg-type]


def dns(*backends: Backend, protocol: str = "UDP") -> Frontend:
    return Frontend(
        namespace="a", service="dns", port_name="", protocol=protocol, port=53, cluster_ip=VIP, backends=backends
    )


def test_flows_to_an_endpoint_that_is_gone_and_no_others():
    assert stale_flows([dns(*ready(ONE, TWO))], [dns(*ready(TWO))]) == (StaleFlow(address=VIP, port=53, backend=ONE),)


def test_nothing_when_an_endpoint_comes():
    assert stale_flows([dns(*ready(ONE))], [dns(*ready(ONE, TWO))]) == ()


def test_all_flows_of_a_service_that_is_gone():
    assert stale_flows([dns(*ready(ONE))], []) == (ALL,)


def test_all_flows_to_an_address_that_had_nobody_behind_it():
    """The first datagrams were let through untranslated, and conntrack would keep them so."""
    assert stale_flows([dns()], [dns(*ready(ONE))]) == (ALL,)
    assert stale_flows([], [dns(*ready(ONE))]) == (ALL,)
    assert stale_flows([], [dns()]) == ()


def test_no_flow_can_have_got_through_to_a_service_that_has_always_refused():
    unused = refusing([dns(), dns(protocol="TCP")])
    assert len(unused) == 1
    assert stale_flows([dns()], [dns(*ready(ONE))], unused) == ()
    assert stale_flows([dns()], [dns(*ready(ONE))], unused & refusing([dns(*ready(ONE))])) == (ALL,)


def test_an_endpoint_that_still_serves_while_it_terminates_keeps_its_flows_only_if_it_is_the_last():
    ending = Backend(address=ONE, port=53, ready=False, terminating=True)
    assert stale_flows([dns(*ready(ONE))], [dns(ending)]) == ()
    gone = StaleFlow(address=VIP, port=53, backend=ONE)
    assert stale_flows([dns(*ready(ONE, TWO))], [dns(ending, *ready(TWO))]) == (gone,)


def test_tcp_finds_out_by_itself():
    assert stale_flows([dns(*ready(ONE), protocol="TCP")], []) == ()
