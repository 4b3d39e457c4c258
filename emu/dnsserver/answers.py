"""What CoreDNS's kubernetes plugin answers, as a pure function of the zone and the question.

Source: coredns/coredns plugin/kubernetes/handler.go and plugin/backend_lookup.go; Kubernetes DNS specification 1.1.0.
Where the two differ, it is CoreDNS that Pods of a real cluster meet.
"""

from __future__ import annotations

from ipaddress import ip_address

from emu.dnsserver.directory import Directory, Found, Target, canonical, reverse_address
from emu.dnsserver.records import OUTSIDE, REFUSED, Answer, Record
from emu.plan.dns import DnsZone

SCHEMA_VERSION = "1.1.0"
SCHEMA_TTL = 28800  # seconds; fixed in CoreDNS
SOA_TTL_MAX = 300  # seconds
SOA_TIMES = "7200 1800 86400"  # refresh, retry, expire, in seconds
CNAME_CHAIN_MAX = 10
ADDRESS_TYPES = {"A": 4, "AAAA": 6}


def answer(zone: DnsZone, qname: str, qtype: str, endpoint_of: str = "") -> Answer:
    """The reply to a question of class IN. `endpoint_of` is the address of the DNS Pod that was asked."""
    return resolve(Directory(zone), qname, qtype, endpoint_of)


def resolve(directory: Directory, qname: str, qtype: str, endpoint_of: str = "") -> Answer:
    """As `answer`, in a zone that is already indexed. Names in the reply echo the case of the question."""
    name = qname.lower()
    if not (zone := directory.zone_of(name)):
        return _reverse_anywhere(directory, qname, qtype)
    if qtype in ("AXFR", "IXFR"):
        return REFUSED
    asked = _Asked(directory, qname, name, qname[len(qname) - len(zone) :], endpoint_of)
    return asked.answer(qtype)


def completed(incomplete: Answer, records: tuple[Record, ...], truncated: bool = False) -> Answer:
    """An answer that ends in a CNAME, with what the upstream server said of its target."""
    return Answer(answer=incomplete.answer + records, truncated=truncated)


def _reverse_anywhere(directory: Directory, qname: str, qtype: str) -> Answer:
    """in-addr.arpa and ip6.arpa are served with fallthrough: what is not found belongs to others."""
    names = directory.names_of(reverse_address(qname.lower())) if qtype == "PTR" else ()
    ttl = directory.zone.ttl
    return Answer(answer=tuple(Record(qname, ttl, "PTR", name) for name in names)) if names else OUTSIDE


class _Asked:
    """One question inside the zone. `zone` is the end of the question, in the case it was asked in."""

    def __init__(self, directory: Directory, qname: str, name: str, zone: str, endpoint_of: str) -> None:
        self.directory, self.qname, self.name, self.zone, self.endpoint_of = directory, qname, name, zone, endpoint_of
        self.relative = name[: -len(zone)].rstrip(".")
        self.ttl = directory.zone.ttl

    def answer(self, qtype: str) -> Answer:
        if qtype == "SOA":
            return self._soa_answer()
        if qtype == "NS" and not self.relative:
            return self._name_servers()
        if qtype == "TXT":
            return self._text()
        if qtype == "PTR" and (address := reverse_address(self.name)):
            names = self.directory.names_of(address)
            return self._data(tuple(self._record("PTR", name) for name in names)) if names else self._no_name()
        found = self._find()
        if found is None:
            return self._no_name()
        if qtype in ADDRESS_TYPES:
            return self._addresses(found, qtype)
        if qtype == "CNAME":
            hosts = [target.host for target in found[:1] if not canonical(target.host)]
            return self._data(tuple(self._record("CNAME", _absolute(host)) for host in hosts))
        return self._services(found) if qtype == "SRV" else self._data(())

    def _find(self) -> Found:
        if self.relative == "ns.dns":
            return self.directory.name_servers(self.endpoint_of)
        return self.directory.find(self.relative)

    def _record(self, rtype: str, data: str, name: str = "") -> Record:
        return Record(name or self.qname, self.ttl, rtype, data)

    def _soa(self) -> Record:
        zone, info = self.zone, self.directory.zone
        text = f"ns.dns.{zone} hostmaster.{zone} {info.serial} {SOA_TIMES} {info.ttl}"
        return Record(zone, min(info.ttl, SOA_TTL_MAX), "SOA", text)

    def _data(self, records: tuple[Record, ...], additional: tuple[Record, ...] = ()) -> Answer:
        """NOERROR; without a record (NODATA) the SOA says for how long that may be remembered."""
        return Answer(answer=records, additional=additional) if records else Answer(authority=(self._soa(),))

    def _no_name(self) -> Answer:
        return Answer(rcode="NXDOMAIN" if self.directory.zone.synced else "SERVFAIL", authority=(self._soa(),))

    def _soa_answer(self) -> Answer:
        """A SOA question below the apex is NODATA even for a name that does not exist."""
        return self._data(() if self.relative else (self._soa(),))

    def _text(self) -> Answer:
        """Any other name is NXDOMAIN unless it holds an address: even `svc`, which exists for the other types."""
        if self.relative == "dns-version":
            return self._data((Record(self.qname, SCHEMA_TTL, "TXT", f'"{SCHEMA_VERSION}"'),))
        return self._data(()) if self.directory.find(self.relative) else self._no_name()

    def _name_servers(self) -> Answer:
        servers = self.directory.name_servers(self.endpoint_of)
        names = dict.fromkeys(f"{server.name}.{self.zone}" for server in servers)
        glue = tuple(self._record(_type_of(each.host), each.host, f"{each.name}.{self.zone}") for each in servers)
        return self._data(tuple(self._record("NS", name) for name in names), glue)

    def _addresses(self, found: tuple[Target, ...], qtype: str) -> Answer:
        chain: list[Record] = []
        owner = self.qname
        while found and not canonical(host := found[0].host):
            target = _absolute(host)
            chain.append(self._record("CNAME", target, owner))
            if len(chain) > CNAME_CHAIN_MAX or f".{target}".lower().endswith(f".{owner}".lower()):
                return self._data(())
            if self.directory.zone_of(target.lower()) != self.directory.domain:
                return Answer(answer=tuple(chain), follow=target)
            owner = target
            found = self.directory.find(target.lower()[: -len(self.directory.domain)].rstrip(".")) or ()
        version = ADDRESS_TYPES[qtype]
        hosts = dict.fromkeys(target.host for target in found if ip_address(target.host).version == version)
        records = tuple(self._record(qtype, host, owner) for host in hosts)
        return self._data((*chain, *records) if records else ())

    def _services(self, found: tuple[Target, ...]) -> Answer:
        """Weights share 100 among all targets, those included that are then merged or have no port."""
        inside = [target for target in found if canonical(target.host)]
        weight = max(1, 100 // max(1, len(inside)))
        ported = [(target, f"{target.name}.{self.zone}") for target in inside if target.port != -1]
        records = dict.fromkeys(self._record("SRV", f"0 {weight} {target.port} {name}") for target, name in ported)
        extra = dict.fromkeys(self._record(_type_of(target.host), target.host, name) for target, name in ported)
        return self._data(tuple(records), tuple(extra))


def _absolute(host: str) -> str:
    return host if host.endswith(".") else host + "."


def _type_of(address: str) -> str:
    return "AAAA" if ":" in address else "A"
