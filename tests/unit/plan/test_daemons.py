"""Daemons and what they bring, in diffs, drift, scripts and words."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

from emu.plan import diff, drift, expectations, render
from emu.plan.model import Daemon, Expected, File, NetnsKind, NetnsPlan, Plan, Route, Sign

ROUTE = Route(dst=ip_network("10.244.2.0/26"), via=ip_address("192.168.100.12"), dev="eth0", protocol="bird")
BIRD = Daemon(
    name="bird",
    argv=("bird", "-f", "-c", "/run/bird/bird.conf"),
    files=(File(path="/run/bird/bird.conf", text="router id 192.168.100.11;\n"),),
    reload=("birdc", "configure"),
    status=("birdc", "show", "protocols"),
    signs=(Sign(what="BGP session with node2", pattern="^Mesh_2 .* Established"),),
)
NODE = NetnsPlan(
    name="node1",
    kind=NetnsKind.NODE,
    owner="node1",
    daemons=(BIRD,),
    expected=(Expected(route=ROUTE, by="bird"),),
)
AS_PLANNED = replace(NODE, routes=(ROUTE,))


def found(actual: NetnsPlan) -> list[str]:
    return [str(each) for each in drift.drift(NODE, actual)]


def test_what_a_daemon_brings_is_no_drift_and_no_change() -> None:
    assert found(AS_PLANNED) == []
    assert diff.netns(NODE, replace(NODE, expected=())) is None
    assert ROUTE not in diff.netns(None, NODE).added


def test_what_a_daemon_has_not_brought_is_drift_that_nobody_else_mends() -> None:
    (each,) = drift.drift(NODE, replace(AS_PLANNED, routes=()))
    assert str(each) == (
        "node1: route 10.244.2.0/26 (by bird): missing: 10.244.2.0/26 via 192.168.100.12 dev eth0 proto bird"
    )
    assert (each.change.added, each.change.removed) == ((), ())


def test_a_route_of_somebody_else_is_not_the_daemons() -> None:
    static = replace(ROUTE, protocol="static")
    assert found(replace(AS_PLANNED, routes=(static,))) == [
        "node1: route 10.244.2.0/26 (by bird): wanted 10.244.2.0/26 via 192.168.100.12 dev eth0 proto bird, "
        "got 10.244.2.0/26 via 192.168.100.12 dev eth0 proto static"
    ]
    assert expectations.absent_routes(NODE, (static,)) == (
        "node1: bird has not brought 10.244.2.0/26 via 192.168.100.12 dev eth0 proto bird",
    )
    assert expectations.absent_routes(NODE, (ROUTE,)) == ()


def test_a_daemon_that_has_ended_is_started_again_by_the_repair() -> None:
    (each,) = drift.drift(NODE, replace(AS_PLANNED, daemons=()))
    assert str(each) == "node1: daemon bird: wanted bird -f -c /run/bird/bird.conf, got not running"
    assert each.change.daemons == ((None, BIRD),)
    words = expectations.absent_signs(NODE, (), {"bird": "killed by SIGKILL"})
    assert words == ("node1: bird does not run (killed by SIGKILL)",)


def test_a_session_that_is_not_up_is_named() -> None:
    assert found(replace(AS_PLANNED, daemons=(replace(BIRD, signs=()),))) == [
        "node1: daemon bird: wanted BGP session with node2, got none"
    ]
    assert expectations.absent_signs(NODE, (replace(BIRD, signs=()),), {}) == ("node1: no BGP session with node2",)


def test_a_changed_configuration_changes_the_daemon_alone() -> None:
    new = replace(BIRD, files=(File(path="/run/bird/bird.conf", text="router id 1.1.1.1;\n"),))
    change = diff.netns(NODE, replace(NODE, daemons=(new,)))
    assert (change.added, change.removed, change.daemons) == ((), (), ((BIRD, new),))
    assert diff.netns(NODE, replace(NODE, daemons=())).daemons == ((BIRD, None),)
    assert diff.netns(None, NODE).daemons == ((None, BIRD),)


def test_the_script_writes_the_files_and_starts_the_program() -> None:
    script = render.render(Plan(name="lab", seed=0, netns={"node1": NODE}))
    assert script.endswith(
        """
ip netns exec node1 unshare --mount bash <<'DAEMON' &
mount -t tmpfs tmpfs /run
mkdir -p /run/bird && cat >/run/bird/bird.conf <<'EOF'
router id 192.168.100.11;
EOF
exec bird -f -c /run/bird/bird.conf
DAEMON
# bird brings 10.244.2.0/26 via 192.168.100.12 dev eth0 proto bird
"""
    )
    assert render.command("node1", BIRD) == "node1# bird -f -c /run/bird/bird.conf &"
