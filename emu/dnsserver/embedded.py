"""What the server answers that Docker embeds in each container (127.0.0.11): bare names of services and containers.

No authority, no SOA, and what it does not know it asks others; without others that is SERVFAIL.
Source: moby/moby libnetwork/resolver.go (ServeDNS, handleIPQuery, handlePTRQuery), sandbox_dns_unix.go.
"""

from __future__ import annotations

from ipaddress import ip_address

from emu.dnsserver.directory import canonical, reverse_address
from emu.dnsserver.records import Answer, Record
from emu.plan.dns import DnsZone

TTL = 600  # seconds; respTTL
VERSIONS = {"A": 4, "AAAA": 6}
UNKNOWN = Answer(rcode="SERVFAIL", authoritative=False, recursive=True, outside=True)


class Names:
    """A zone's `embedded` table, made quick to search."""

    def __init__(self, zone: DnsZone) -> None:
        self._addresses = {name.lower(): addresses for name, addresses in zone.embedded}
        self._names: dict[str, str] = {}
        for name, addresses in zone.embedded:
            if len(addresses) == 1:
                self._names.setdefault(canonical(addresses[0]), name)

    def resolve(self, qname: str, qtype: str) -> Answer:
        if qtype == "PTR":
            name = self._names.get(reverse_address(qname.lower()))
            return _answer(Record(qname, TTL, "PTR", f"{name}.")) if name else UNKNOWN
        addresses = self._addresses.get(qname.lower().rstrip("."))
        if addresses is None or qtype not in (*VERSIONS, "MX"):
            return UNKNOWN
        fitting = (each for each in addresses if ip_address(each).version == VERSIONS.get(qtype))
        return _answer(*(Record(qname, TTL, qtype, each) for each in fitting))


def _answer(*records: Record) -> Answer:
    return Answer(answer=records, authoritative=False, recursive=True)
