"""Which Pods are waited for, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cluster_world import as_reported, cluster, get, pod, service

from emu.api.objects import (
    ContainerState,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    Pod,
    PodStatus,
)
from emu.cluster.readiness import hopeless, unready, warnings


def waiting(reason: str, ended: str = "") -> Pod:
    last = (
        ContainerState(terminated=ContainerStateTerminated(reason=ended, exit_code=128)) if ended else ContainerState()
    )
    state = ContainerState(waiting=ContainerStateWaiting(reason=reason))
    main = ContainerStatus(name="main", state=state, last_state=last)
    return replace(pod("a"), status=PodStatus(phase="Running", container_statuses=(main,)))


def test_a_pod_that_may_become_ready_is_waited_for() -> None:
    starting = waiting("ContainerCreating")
    assert (unready(starting), hopeless(starting)) == ("Pod default/a is not ready (ContainerCreating)", "")


def test_a_ready_pod_is_neither_waited_for_nor_spoken_of() -> None:
    ready = as_reported(get(cluster(pod("a")), "Pod", "a"))
    assert (unready(ready), hopeless(ready)) == ("", "")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (
            waiting("CrashLoopBackOff", "StartError"),
            "container main is in CrashLoopBackOff (StartError, exit code 128)",
        ),
        (get(cluster(pod("a", node_selector={"disk": "ssd"})), "Pod", "a"), "unschedulable: 0/2 nodes are available"),
        (replace(pod("a"), status=PodStatus(phase="Failed")), "it has failed"),
    ],
)
def test_a_pod_that_keeps_failing_is_named_with_what_tells_more(broken: Pod, why: str) -> None:
    assert unready(broken) == ""
    assert hopeless(broken).startswith(f"Pod default/a is not ready, and not waited for: {why}")
    assert hopeless(broken).endswith("; emu describe pod a")


def test_a_pod_that_nobody_waits_for_has_one_line_beside_the_other_warnings() -> None:
    where = cluster(pod("a", node_selector={"disk": "ssd"}), service("web"))
    told = warnings(where.warnings, where.objects)
    assert [each.partition(":")[0] for each in told] == [
        "Service default/web",
        "Pod default/a is not ready, and not waited for",
    ]
