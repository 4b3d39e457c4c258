"""Packing requests, reading answers: bytes in, bytes out."""

from __future__ import annotations

import struct
from collections import deque

from emu.kernel import netlink
from emu.kernel.netlink import Connection, Request


class FakeSocket:
    """Gives the datagrams a test has laid out, and keeps what was sent."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = deque(answers)
        self.sent: list[bytes] = []

    def setsockopt(self, *_: int) -> None:
        pass

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def recv(self, _: int) -> bytes:
        return self.answers.popleft()


def answer(sequence: int, errno: int, text: str = "") -> bytes:
    """A capped acknowledgement, as the kernel writes it: errno, the request's header, then its words."""
    body = struct.pack("=i", -errno) + bytes(16)
    flags = netlink.NLM_F_CAPPED
    if text:
        body += netlink.attr_text(1, text)
        flags |= netlink.NLM_F_ACK_TLVS
    return message(2, flags, sequence, body)


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def flags_of(data: bytes) -> list[tuple[int, int]]:
    return [(sequence, flags) for _, flags, sequence, _ in netlink.messages(data)]


def test_an_attribute_is_padded_to_four_bytes_and_tells_its_true_length():
    assert netlink.attr(3, b"cni0\0") == struct.pack("=HH", 9, 3) + b"cni0\0\0\0\0"


def test_attributes_are_read_back_by_type_nested_or_not():
    raw = netlink.attr_u32(4, 1450) + netlink.nested(18, netlink.attr_text(1, "veth"))
    found = netlink.attributes(raw)
    assert found[4] == struct.pack("=I", 1450)
    assert netlink.attributes(found[18])[1] == b"veth\0"


def test_only_the_last_request_of_a_send_asks_for_an_answer():
    sock = FakeSocket(answer(3, 0))
    assert Connection(sock).execute([Request(16, 0, b"")] * 3) == []
    assert flags_of(sock.sent[0]) == [(1, 1), (2, 1), (3, 5)]


def test_a_refused_request_is_told_by_its_place_with_the_kernels_words():
    sock = FakeSocket(answer(2, 101, "Nexthop has invalid gateway") + answer(3, 0))
    (failure,) = Connection(sock).execute([Request(24, 0, b"")] * 3)
    assert failure.index == 1
    assert str(failure) == "RTNETLINK says Network is unreachable (Nexthop has invalid gateway)"


def test_a_refusal_without_words_has_the_error_alone():
    (failure,) = Connection(FakeSocket(answer(1, 17))).execute([Request(16, 0, b"")])
    assert str(failure) == "RTNETLINK says File exists"


def test_answers_spread_over_several_datagrams_are_all_collected():
    sock = FakeSocket(answer(1, 17), answer(2, 19), answer(3, 0))
    failures = Connection(sock).execute([Request(16, 0, b"")] * 3)
    assert [(f.index, f.errno) for f in failures] == [(0, 17), (1, 19)]


def test_a_batch_larger_than_a_send_buffer_goes_in_several_sends():
    sock = FakeSocket(answer(3, 0), answer(6, 5), answer(7, 0))
    failures = Connection(sock).execute([Request(16, 0, bytes(40_000))] * 7)
    assert [len(flags_of(data)) for data in sock.sent] == [3, 3, 1]
    assert [f.index for f in failures] == [5]


def test_nothing_to_do_sends_nothing():
    sock = FakeSocket()
    assert Connection(sock).execute([]) == []
    assert sock.sent == []


def test_a_dump_that_changed_under_the_reader_is_read_again():
    interrupted = message(16, 0x12, 1, b"half") + message(3, 2, 1, bytes(4))
    whole = message(16, 2, 2, b"good") + message(16, 2, 2, b"news") + message(3, 2, 2, bytes(4))
    assert Connection(FakeSocket(interrupted, whole)).dump(18, b"") == [b"good", b"news"]
