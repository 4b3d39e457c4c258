"""Network namespaces made ahead."""

from __future__ import annotations

import errno
import os

import pytest

from emu.kernel import netns, newborn, nursery, sysctls
from emu.kernel.apply import Kernel
from emu.kernel.handle import Handle
from emu.kernel.nursery import Nursery
from emu.plan import diff
from emu.plan.model import NetnsKind, NetnsPlan, Plan, Sysctl

pytestmark = pytest.mark.root
FORWARD, DEFAULT = "net.ipv4.ip_forward", "net.ipv6.conf.default.disable_ipv6"


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _inode() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_each_is_another_namespace_and_after_the_last_there_is_none(sandbox):
    def inside():
        made = Nursery(40)
        fds = [made.take() for _ in range(42)]
        home = os.stat("/proc/self/ns/net").st_ino
        different = {os.fstat(fd).st_ino for fd in fds if fd is not None} - {home}
        return len(different), fds[40:]

    assert sandbox(inside) == (40, [None, None])


def test_what_is_made_ahead_gets_the_names_asked_for_and_the_rest_is_made_then(sandbox):
    def inside():
        ahead = Nursery(3)
        there = []
        made = netns.create_all(("a", "b", "c", "d"), lambda new: there.append(_inode()), ahead.take)
        named = [os.stat(f"/run/netns/{each.name}").st_ino for each in made]
        return named == there == [os.fstat(each.fd).st_ino for each in made], len(set(there))

    assert sandbox(inside) == (True, 4)


def test_closing_leaves_nothing_of_those_nobody_took(sandbox):
    def inside():
        before = _files()
        made = Nursery(1000)
        os.close(made.take() or -1)
        made.close()
        _, status = os.wait()
        return _files() - before, made.take(), status

    assert sandbox(inside) == (0, None, 0)


def test_each_has_the_sysctls_already_and_one_made_later_gets_its_own(sandbox):
    def inside():
        made = {}
        ahead = Nursery(2, [Sysctl(key=FORWARD, value="1"), Sysctl(key=DEFAULT, value="1")])
        plans = [_pod("a", ("0", "1")), _pod("b", ("0", "1")), _pod("c", ("0", "1"))]
        newborn.create(plans, newborn.probe(), made, sysctls.Procfs(), ahead)
        forward = [_value(made[name], FORWARD) for name in "ab"]
        return forward, [(_value(made[name], DEFAULT), len(made[name].preset)) for name in "abc"]

    assert sandbox(inside) == (["1", "1"], [("1", 2), ("1", 2), ("1", 0)])


def test_a_kernel_with_a_nursery_brings_about_what_the_plan_says(sandbox):
    def inside():
        plan = Plan(name="lab", seed=0, netns={name: _pod(name, ("0", "1")) for name in ("a", "b")})
        kernel = Kernel("lab", nursery=Nursery(1, [Sysctl(key=FORWARD, value="1"), Sysctl(key=DEFAULT, value="1")]))
        kernel.apply(diff.diff(None, plan), plan)
        return [kernel.read(each).sysctls == each.sysctls for each in plan.netns.values()]

    assert sandbox(inside) == [True, True]


def _pod(name: str, values: tuple[str, str]) -> NetnsPlan:
    wanted = tuple(Sysctl(key=key, value=value) for key, value in zip((FORWARD, DEFAULT), values, strict=True))
    return NetnsPlan(name=name, kind=NetnsKind.POD, owner=name, sysctls=wanted)


def _value(handle: Handle, key: str) -> str:
    with netns.entered(handle.netns):
        return next(sysctls.read([key])).value


def test_a_kernel_that_refuses_ends_it_and_who_asks_next_is_told_why(sandbox, monkeypatch):
    def refused(_flags: int) -> None:
        raise OSError(errno.ENOSPC, "unshare: no room")

    def inside():
        monkeypatch.setattr(nursery.syscalls, "unshare", refused)
        made = Nursery(5)
        with pytest.raises(OSError, match="no room"):
            netns.create_all(("a",), ahead=made.take)
        return os.listdir("/run/netns")

    assert sandbox(inside) == []
