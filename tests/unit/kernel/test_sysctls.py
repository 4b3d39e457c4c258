"""Sysctl keys and files."""

from __future__ import annotations

import pytest

from emu.kernel import sysctls


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "/proc/sys/net/ipv4/ip_forward"),
        ("net.ipv4.conf.flannel/1.forwarding", "/proc/sys/net/ipv4/conf/flannel.1/forwarding"),
        ("net.bridge.bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-iptables"),
    ],
)
def test_dots_and_slashes_of_a_key_change_places(key, path):
    assert sysctls.path(key) == path


def test_a_key_that_is_not_there_is_left_out():
    assert list(sysctls.read(["net.no.such.key"])) == []


def test_a_key_is_read_wherever_it_stands():
    found = {each.key: each.value for each in sysctls.read(["kernel.ostype", "kernel.pty.max", "net.ipv4.ip_forward"])}
    assert found["kernel.ostype"] == "Linux"
    assert found["kernel.pty.max"].isdigit()
    assert found["net.ipv4.ip_forward"] in ("0", "1")
