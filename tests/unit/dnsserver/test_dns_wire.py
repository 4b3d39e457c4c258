import dns.edns
import dns.flags
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.dnsserver import wire
from emu.dnsserver.records import Answer, Record
from emu.dnsserver.replies import Replies, Unfinished

WEB = "web.default.svc.cluster.local."


def query(name=WEB, kind="A", **edns):
    return dns.message.make_query(name, kind, id=0x1234, **edns).to_wire()


def addresses(count, name=WEB):
    return Answer(answer=tuple(Record(name, 30, "A", f"10.244.{each >> 8}.{each & 255}") for each in range(count)))


def served(answer):
    return Replies(lambda name, kind: answer)


def read(data):
    return dns.message.from_wire(data)


def first_address(data):
    return read(data).answer[0][0].to_text()


def test_a_reply_says_who_speaks_and_no_more():
    reply = read(served(addresses(1)).udp(query()))
    assert reply.id == 0x1234
    assert dns.flags.to_text(reply.flags) == "QR AA RD"  # recursion is not on offer
    assert reply.edns == -1


def test_small_replies_are_not_compressed():
    reply = served(addresses(2)).udp(query())
    assert reply.count(b"\x03web\x07default\x03svc") == 3


def test_a_large_reply_is_compressed_before_anything_is_cut():
    reply = served(addresses(20)).udp(query())
    assert len(reply) < 512
    assert (len(read(reply).answer[0]), read(reply).flags & dns.flags.TC) == (20, 0)


def test_what_does_not_fit_is_cut_and_tc_says_so():
    reply = served(addresses(100)).udp(query())
    assert len(reply) <= 512
    assert read(reply).flags & dns.flags.TC
    assert (
        len(read(reply).answer[0]) == (512 - 12 - len(b"\x03web\x07default\x03svc\x07cluster\x05local\x00") - 4) // 16
    )


def test_an_edns_buffer_holds_more():
    reply = read(served(addresses(60)).udp(query(use_edns=0, payload=1232)))
    assert (len(reply.answer[0]), reply.flags & dns.flags.TC, reply.payload) == (60, 0, 1232)


def test_tcp_holds_all():
    reply = read(served(addresses(1000)).tcp(query()))
    assert (len(reply.answer[0]), reply.flags & dns.flags.TC) == (1000, 0)


def test_a_cookie_comes_back_and_an_unknown_option_does_not():
    options = [dns.edns.GenericOption(10, b"12345678"), dns.edns.GenericOption(65001, b"x")]
    reply = read(served(addresses(1)).udp(query(use_edns=0, options=options)))
    assert [(int(option.otype), option.to_wire()) for option in reply.options] == [(10, b"12345678")]


def test_a_later_edns_version_is_refused_by_name():
    reply = read(served(addresses(1)).udp(query(use_edns=1)))
    assert (reply.rcode(), reply.answer) == (dns.rcode.BADVERS, [])


def test_addresses_take_turns_also_from_the_cache():
    replies = served(addresses(3))
    assert [first_address(replies.udp(query())) for _ in range(6)] == ["10.244.0.0", "10.244.0.1", "10.244.0.2"] * 2


def test_a_cname_stays_before_its_target():
    alias = Record("alias.", 30, "CNAME", WEB)
    replies = served(Answer(answer=(alias, *addresses(2).answer)))
    for _ in range(2):
        assert read(replies.udp(query("alias."))).answer[0].rdtype == dns.rdatatype.CNAME


def test_the_cache_patches_the_id_and_keeps_cases_apart():
    asked = []
    replies = Replies(lambda name, kind: asked.append(name) or addresses(1, name))
    low, high = query(), query("WEB.default.svc.cluster.local.")
    replies.udp(low)
    again = replies.udp(b"\xab\xcd" + low[2:])
    assert (again[:2], asked) == (b"\xab\xcd", [WEB])
    assert read(replies.udp(high)).answer[0].name.to_text() == "WEB.default.svc.cluster.local."


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"", b""),
        (b"\x12\x34", b""),
        (query()[:2] + b"\x81\x00" + query()[4:], b""),  # a reply
        (query()[:-1], b"\x12\x34\x80\x01" + bytes(8)),  # cut short: FORMERR
        (query()[:5] + b"\x02" + query()[6:], b"\x12\x34\x80\x01" + bytes(8)),  # two questions announced
        (b"\x12\x34\x28\x00" + query()[4:], b"\x12\x34\xa8\x04" + bytes(8)),  # UPDATE: NOTIMP
    ],
)
def test_what_is_no_question_gets_the_reply_it_deserves(data, reply):
    assert served(addresses(1)).udp(data) == reply


def test_another_class_is_refused():
    chaos = query()[:-2] + b"\x00\x03"
    assert read(served(addresses(1)).udp(chaos)).rcode() == dns.rcode.REFUSED


def test_a_name_of_others_waits_for_the_upstream_if_there_is_one():
    outside = Answer(rcode="REFUSED", outside=True)
    with pytest.raises(Unfinished):
        Replies(lambda name, kind: outside, forwards=True).udp(query("example.com."))
    assert read(served(outside).udp(query("example.com."))).rcode() == dns.rcode.REFUSED


def test_srv_targets_are_never_compressed():
    srv = tuple(Record(WEB, 30, "SRV", f"0 1 {port} {WEB}") for port in range(1, 40))
    query_ = wire.decode(query(kind="SRV", use_edns=0, payload=1232))
    reply = wire.encode(query_, Answer(answer=srv), udp=True)
    assert len(read(reply).answer[0]) == (1232 - 11 - 12 - 35) // (12 + 6 + 31)


@given(st.binary(max_size=120))
def test_no_datagram_upsets_the_server(noise):
    for data in (noise, query()[:12] + noise, query()[:10] + b"\x00\x01" + query()[12:] + noise):
        reply = served(addresses(1)).udp(data)
        assert reply == b"" or reply[:2] == data[:2]


def test_addresses_take_turns_over_tcp_too():
    replies = served(addresses(2))
    assert [first_address(replies.tcp(query())) for _ in range(3)] == ["10.244.0.0", "10.244.0.1", "10.244.0.0"]
