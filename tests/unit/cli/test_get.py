"""`emu get` prints what kubectl prints."""

from __future__ import annotations


def test_pods(emu, testbed):
    said = emu("get", "pods")
    assert said.code == 0
    assert said.out.splitlines()[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
