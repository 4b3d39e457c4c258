"""The server that Docker embeds in each container."""

from __future__ import annotations

import dns.flags
import dns.message
import pytest

from emu.dnsserver.embedded import Names
from emu.dnsserver.replies import Replies
from emu.plan.dns import DnsZone

ZONE = DnsZone(embedded=(("web", ("10.0.1.2", "10.0.1.3")), ("shop_db", ("10.0.1.6",))))


def asked(qname: str, qtype: str = "A") -> tuple[str, list[str]]:
    answer = Names(ZONE).resolve(qname, qtype)
    return answer.rcode, [record.data for record in answer.answer]


@pytest.mark.parametrize(
    ("qname", "qtype", "rcode", "data"),
    [
        ("web.", "A", "NOERROR", ["10.0.1.2", "10.0.1.3"]),
        ("WEB.", "A", "NOERROR", ["10.0.1.2", "10.0.1.3"]),
        ("shop_db.", "A", "NOERROR", ["10.0.1.6"]),
        ("web.", "AAAA", "NOERROR", []),  # it exists, and has none: nobody else is asked
        ("web.", "MX", "NOERROR", []),
        ("web.", "TXT", "SERVFAIL", []),
        ("web.default.svc.cluster.local.", "A", "SERVFAIL", []),
        ("6.1.0.10.in-addr.arpa.", "PTR", "NOERROR", ["shop_db."]),
        ("2.1.0.10.in-addr.arpa.", "PTR", "SERVFAIL", []),
    ],
)
def test_it_knows_bare_names_alone(qname: str, qtype: str, rcode: str, data: list[str]) -> None:
    assert asked(qname, qtype) == (rcode, data)


def test_on_the_wire_it_has_no_authority_offers_recursion_and_turns_the_addresses() -> None:
    replies, query = Replies(Names(ZONE).resolve), dns.message.make_query("web", "A").to_wire()
    found = [dns.message.from_wire(replies.udp(query)) for _ in range(2)]
    assert [[str(each) for each in reply.answer[0]] for reply in found] == [
        ["10.0.1.2", "10.0.1.3"],
        ["10.0.1.3", "10.0.1.2"],
    ]
    assert {(bool(r.flags & dns.flags.AA), bool(r.flags & dns.flags.RA), r.answer[0].ttl) for r in found} == {
        (False, True, 600)
    }
