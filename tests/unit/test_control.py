import os
import socket

import pytest

from emu.control import Channel


@pytest.fixture(params=[socket.SOCK_STREAM, socket.SOCK_SEQPACKET])
def ends(request):
    left, right = socket.socketpair(socket.AF_UNIX, request.param)
    with left, right:
        yield Channel(left), Channel(right)


def test_descriptors_arrive_with_their_message(ends):
    left, right = ends
    reader, writer = os.pipe()
    left.send({"op": "plain"})
    left.send({"op": "pipe"}, [writer])
    os.close(writer)
    assert right.receive() == ({"op": "plain"}, [])
    message, (copy,) = right.receive()
    os.write(copy, b"through")
    assert (message, os.read(reader, 10), os.get_inheritable(copy)) == ({"op": "pipe"}, b"through", False)
    os.close(reader)
    os.close(copy)


def test_nothing_is_waited_for_unless_asked(ends):
    left, right = ends
    assert list(right.waiting()) == []
    left.send({"n": 1})
    left.send({"n": 2})
    assert [message["n"] for message, _ in right.waiting()] == [1, 2]


def test_a_message_may_be_larger_than_a_packet(ends):
    left, right = ends
    left.send({"text": "x" * 150_000})
    assert len(right.receive()[0]["text"]) == 150_000


def test_the_end_is_told(ends):
    left, right = ends
    left.close()
    assert right.receive() is None
    assert right.closed
