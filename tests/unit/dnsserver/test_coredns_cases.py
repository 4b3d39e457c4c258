"""CoreDNS's own tables of questions and answers, every case of them (see tests/data/README.md)."""

import json
from pathlib import Path

import pytest

from emu.dnsserver.answers import answer, completed
from emu.dnsserver.records import Record
from emu.plan.dns import DnsEndpoint, DnsPort, DnsService, DnsZone

TABLE = json.loads((Path(__file__).parents[2] / "data" / "dns_cases.json").read_text())
UPSTREAM = {"ext.interwebs.test.": (Record("ext.interwebs.test.", 5, "A", "1.2.3.4"),)}
SCHEMA_TTL = 28800
REVERSE_NETWORKS = ("10.0.0.0/16", "192.168.0.0/16", "1234:abcd::/96", "fd00:77:30::/108")
EXISTING = ("default", "kube-system", "testns", "unexposedns", "podns")
SPEC_SERVICES = {
    "2.3.1": DnsService(namespace="default", name="kubernetes", cluster_ips=("2001:db8::1",)),
    "2.3.2": DnsService(
        namespace="default",
        name="kubernetes",
        cluster_ips=("10.3.0.1",),
        ports=(DnsPort(name="https", protocol="TCP", port=443), DnsPort(name="", protocol="TCP", port=80)),
    ),
    "2.3.3": DnsService(namespace="default", name="kubernetes", cluster_ips=("10.3.0.1",)),
    "2.4.1": DnsService(
        namespace="default",
        name="headless",
        endpoints=tuple(
            DnsEndpoint(address=address, hostname=hostname, ready=ready)
            for address, hostname, ready in (
                ("10.3.0.1", "", True),
                ("10.3.0.2", "", True),
                ("10.3.0.3", "", True),
                ("10.3.0.4", "", False),
                ("2001:db8::1", "", True),
                ("2001:db8::2", "", True),
                ("2001:db8::3", "", True),
            )
        ),
    ),
}
MY_PET = DnsService(
    namespace="default",
    name="headless",
    endpoints=(
        DnsEndpoint(address="10.3.0.100", hostname="my-pet"),
        DnsEndpoint(address="2001:db8::1", hostname="my-pet"),
    ),
)


def ports(rows):
    return tuple(DnsPort(**row) for row in rows)


def endpoints(entry):
    return tuple(
        DnsEndpoint(address=row["ip"], hostname=row.get("hostname", ""), ports=ports(entry["ports"]))
        for row in entry["addresses"]
    )


def world_services(world):
    behind = dict(world["endpoints"])
    for row in world["services"]:
        ips = tuple(ip for ip in row["clusterIPs"] if ip != "None")
        entry = behind.pop(f"{row['namespace']}/{row['name']}", {"addresses": [], "ports": []})
        yield DnsService(
            namespace=row["namespace"],
            name=row["name"],
            cluster_ips=ips,
            external_name=row.get("externalName", ""),
            ports=ports(row["ports"]),
            endpoints=endpoints(entry),
        )
    for key, entry in behind.items():  # endpoints whose Service the upstream table does not list
        namespace, name = key.split("/")
        yield DnsService(namespace=namespace, name=name, cluster_ips=("172.30.0.1",), endpoints=endpoints(entry))


def services_of(suite, case):
    if suite["id"] == "spec-1.1.0":
        return (MY_PET if case["qname"].startswith("my-pet") else SPEC_SERVICES[case["section"]],)
    return tuple(world_services(TABLE["worlds"][suite["world"]]))


def zone_of(suite, case):
    """The zone of a case. A suite that gives no ttl was run with the one its records show."""
    config = suite["config"]
    records = case["answer"] + case["authority"] + case["additional"]
    shown = [record["ttl"] for record in records if record["ttl"] != SCHEMA_TTL]
    exposed = config.get("namespaces", "all")
    return DnsZone(
        ttl=config.get("ttl", shown[0] if shown else 5),
        pods_mode=config.get("pods", "disabled"),
        namespaces=EXISTING if exposed == "all" else tuple(exposed),
        services=services_of(suite, case),
        pods=(("podns", "10.240.0.1"),),
        cluster_networks=REVERSE_NETWORKS if suite["id"] == "reverse" else ("10.3.0.0/16",),
        ignore_empty=config.get("ignore") == "empty_service",
        synced=config.get("synced", True),
    )


def rows(section, case):
    """Records to compare: a SOA by its name, ttl, MNAME and times (the serial is a time stamp); the
    specification's example ttl and SRV priority are not prescribed."""
    free = "ttl_and_priority" in case
    return sorted(_row(record, free) for record in section)


def _row(record, free):
    if isinstance(record, Record):
        name, ttl, kind, data = record
        if kind == "SOA":
            mname, rname, _, refresh, retry, expire, _ = data.split()
            data = f"{mname} {rname} {refresh} {retry} {expire}"
    else:
        name, ttl, kind, data = record["name"], record["ttl"], record["type"], record["rdata"]
        if kind == "SOA":
            data = "{mname} {rname} {refresh} {retry} {expire}".format(**data)
    data = data.strip('"')
    return (name, 0 if free else ttl, kind, data.split(" ", 1)[1] if free and kind == "SRV" else data)


CASES = [(suite, case) for suite in TABLE["suites"] for case in suite["cases"]]


@pytest.mark.parametrize(
    ("suite", "case"), CASES, ids=[f"{suite['id']}-{case['qtype']}-{case['qname']}" for suite, case in CASES]
)
def test_answers_as_coredns_does(suite, case):
    got = answer(zone_of(suite, case), case["qname"], case["qtype"], suite["config"].get("local_ip", ""))
    if got.follow:
        got = completed(got, UPSTREAM[got.follow], truncated=True)
    assert got.rcode == case["rcode"]
    assert rows(got.answer, case) == rows(case["answer"], case)
    assert rows(got.authority, case) == rows(case["authority"], case)
    if "section" not in case:  # the specification leaves the additional section free
        assert rows(got.additional, case) == rows(case["additional"], case)
    assert got.authoritative


def test_no_case_of_the_table_is_left_out():
    assert len(CASES) == 57
