from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.workloads.http import BadRequest, Request, Response, parse, render


def get(text):
    return parse(bytearray(text.encode().replace(b"\n", b"\r\n")))


def test_a_request_is_taken_off_the_front():
    received = bytearray(b"GET /a?x=1 HTTP/1.1\r\nHost: web\r\n\r\nGET /b HTTP/1.1\r\n")
    request = parse(received)
    assert (request.method, request.path, request.form, request.keep) == ("GET", "/a", {"x": "1"}, True)
    assert received == b"GET /b HTTP/1.1\r\n"
    assert parse(received) is None


@pytest.mark.parametrize(
    ("head", "keep"),
    [
        ("GET / HTTP/1.1\nHost: a\n\n", True),
        ("GET / HTTP/1.1\nHost: a\nConnection: close\n\n", False),
        ("GET / HTTP/1.0\n\n", False),
        ("GET / HTTP/1.0\nConnection: Keep-Alive\n\n", True),
    ],
)
def test_who_closes(head, keep):
    assert get(head).keep is keep


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("hello\n\n", 400),
        ("GET /\n\n", 400),
        ("GET / HTTP/1.1\n\n", 400),  # no Host
        ("GET / HTTP/1.1\nHost: a\nHost: b\n\n", 400),
        ("GET / HTTP/1.1\nHost: a\nno colon\n\n", 400),
        ("GET / HTTP/1.1\nHost: a\nbad name: x\n\n", 400),
        ("GET web HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/2.0\n\n", 505),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: -1\n\n", 400),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: 99999999\n\n", 413),
        ("POST / HTTP/1.1\nHost: a\nContent-Length: 1\nTransfer-Encoding: chunked\n\n", 400),
        ("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip\n\n", 400),
        ("POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nzz\n", 400),
        ("GET /" + "x" * 20000, 414),
        ("\x16\x03\x01\x02", 400),  # TLS
    ],
)
def test_malformed_requests_are_refused(text, status):
    with pytest.raises(BadRequest) as caught:
        get(text)
    assert caught.value.status == status


def test_bodies_by_length_and_in_chunks():
    assert get("POST / HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc").body == b"abc"
    assert get("POST / HTTP/1.1\nHost: a\nContent-Length: 3\n\nab") is None
    chunks = "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n3\nabc\n2;x=y\nde\n0\n\n"
    assert get(chunks).body == b"abcde"
    assert get(chunks[:-2]) is None


def test_a_form_in_the_body_comes_before_the_query():
    head = {"content-type": "application/x-www-form-urlencoded"}
    assert Request("POST", "/echo?msg=query", "HTTP/1.1", head, b"msg=body", True).form == {"msg": "body"}


def test_head_has_the_headers_and_no_body():
    response = Response(headers=(("Server", "x"), ("Connection", "close")), body=b"text")
    head = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\n"
    assert render(response, head=True) == head
    assert render(response) == head + b"text"


def test_an_old_client_gets_no_chunks():
    response = Response(body=b"text", chunked=True, close=True)
    assert render(response, version="HTTP/1.0") == b"HTTP/1.1 200 OK\r\n\r\ntext"
    assert render(response).endswith(b"Transfer-Encoding: chunked\r\n\r\n4\r\ntext\r\n0\r\n\r\n")


@given(st.binary(max_size=200))
def test_no_bytes_upset_the_parser(noise):
    head = b"POST / HTTP/1.1\r\nHost: a\r\n"
    for data in (noise, head + noise + b"\r\n\r\n", head + b"Transfer-Encoding: chunked\r\n\r\n" + noise):
        with suppress(BadRequest):
            parse(bytearray(data))
