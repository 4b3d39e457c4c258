"""What daemons bring is waited for once after each change of what is expected."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from emu.plan.model import Expected, NetnsKind, NetnsPlan, Plan, Route
from emu.testbed.convergence import Convergence


def plan_of(*blocks: str) -> Plan:
    expected = tuple(Expected(route=Route(dst=ip_network(block)), by="bird", within_s=9) for block in blocks)
    node = NetnsPlan(name="node1", kind=NetnsKind.NODE, owner="node1", expected=expected)
    return Plan(name="lab", seed=0, netns={"node1": node, "plain": replace(node, name="plain", expected=())})


class Kernel:
    """Knows which blocks have come, and how often it was asked."""

    def __init__(self, *come: str) -> None:
        self.come, self.asked = set(come), 0

    def absent(self, netns: NetnsPlan, ask: bool) -> tuple[str, ...]:
        self.asked += 1
        words = " (asked)" if ask else ""
        return tuple(f"{e.route.dst}{words}" for e in netns.expected if str(e.route.dst) not in self.come)


def test_what_has_come_is_not_looked_at_again() -> None:
    kernel = Kernel("10.0.0.0/26")
    convergence = Convergence(kernel.absent)
    assert convergence.within_s(plan_of("10.0.0.0/26")) == 9
    assert convergence.look(plan_of("10.0.0.0/26")) == ()
    assert (convergence.look(plan_of("10.0.0.0/26")), kernel.asked) == ((), 1)
    assert convergence.within_s(plan_of("10.0.0.0/26")) == 0


def test_a_new_expectation_is_waited_for() -> None:
    kernel = Kernel("10.0.0.0/26")
    convergence = Convergence(kernel.absent)
    convergence.look(plan_of("10.0.0.0/26"))
    both = plan_of("10.0.0.0/26", "10.0.0.64/26")
    assert convergence.look(both) == ("10.0.0.64/26",)
    kernel.come.add("10.0.0.64/26")
    assert convergence.look(both) == ()


def test_what_was_given_up_is_told_with_the_daemons_words_and_waited_for_no_more() -> None:
    convergence = Convergence(Kernel().absent)
    assert convergence.look(plan_of("10.0.0.0/26")) == ("10.0.0.0/26",)
    assert convergence.give_up(plan_of("10.0.0.0/26")) == ("10.0.0.0/26 (asked)",)
    assert convergence.look(plan_of("10.0.0.0/26")) == ()
    convergence.forget(["node1"])
    assert convergence.look(plan_of("10.0.0.0/26")) == ("10.0.0.0/26",)
