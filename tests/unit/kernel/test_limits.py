"""Whether a plan fits a machine, and the sentence if it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from emu.errors import HostError
from emu.kernel import limits
from emu.kernel.limits import Limit
from emu.plan.model import NetnsKind, NetnsPlan, Plan
from emu.plan.needs import needs

PLAN = Plan(name="x", seed=0, netns={"node1": NetnsPlan(name="node1", kind=NetnsKind.NODE, owner="node1")})
LIMIT = Limit(
    name="net-namespaces",
    what="network namespaces",
    setting="user.max_net_namespaces",
    granted=3,
    remedy="sudo sysctl -w user.max_net_namespaces={0}",
)


def test_a_refusal_names_the_limit_the_need_the_grant_and_the_remedy() -> None:
    with pytest.raises(HostError) as refused:
        limits.check(PLAN, [LIMIT])
    assert str(refused.value) == (
        "1 Node and 0 Pods need 4 network namespaces, 3 are allowed (user.max_net_namespaces)\n"
        "  hint: sudo sysctl -w user.max_net_namespaces=4"
    )


def test_what_others_use_is_not_to_be_had() -> None:
    limits.check(PLAN, [replace(LIMIT, granted=4)])
    with pytest.raises(HostError, match=r"5 are allowed, of which 2 are in use .*\n.*=6$"):
        limits.check(PLAN, [replace(LIMIT, granted=5, used=2)])


def test_a_limit_that_cannot_be_seen_refuses_nothing() -> None:
    limits.check(PLAN, [])


def test_every_need_is_one_that_a_machine_can_limit() -> None:
    known = {limit.name for limit in limits.read()} | {"neighbors-ipv4", "neighbors-ipv6", "conntrack"}
    assert {need.limit for need in needs(PLAN)} <= known


def test_a_user_may_choose_to_ignore_one() -> None:
    names = {limit.name for limit in limits.minded({})}
    left = {limit.name for limit in limits.minded({"EMU_IGNORE_LIMITS": "terminals, files"})}
    assert names - left == {"terminals", "files"}
