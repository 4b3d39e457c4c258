"""READY, STATUS and RESTARTS of a Pod say what kubectl says. Cases: kubernetes pkg/printers/internalversion."""

from __future__ import annotations

import pytest

from emu.api.objects import (
    Condition,
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    ObjectMeta,
    Pod,
    PodSpec,
    PodStatus,
)
from emu.apiserver.tables import pods

RUNNING = ContainerState(running=ContainerStateRunning(started_at="2020-01-01T00:00:00Z"))
READY = Condition(type="Ready", status="True")
INITIALIZED = Condition(type="Initialized", status="True")


def waiting(reason):
    return ContainerState(waiting=ContainerStateWaiting(reason=reason))


def ended(code=0, reason="", number=0, at=""):
    return ContainerState(
        terminated=ContainerStateTerminated(exit_code=code, reason=reason, signal=number, finished_at=at)
    )


def status(state, *, ready=None, restarts=0, last=None):
    ready = state is RUNNING if ready is None else ready
    last = last or ContainerState()
    return ContainerStatus(name="c", ready=ready, restart_count=restarts, state=state, last_state=last)


def pod(*states, init=(), phase="Running", conditions=(), reason="", deleted=""):
    made = tuple(each if isinstance(each, ContainerStatus) else status(each) for each in states)
    begun = tuple(each if isinstance(each, ContainerStatus) else status(each) for each in init)
    return Pod(
        metadata=ObjectMeta(name="p", deletion_timestamp=deleted),
        spec=PodSpec(
            containers=tuple(Container(name=f"c{index}", image="i") for index in range(max(1, len(made)))),
            init_containers=tuple(Container(name=f"i{index}", image="i") for index in range(len(begun))),
        ),
        status=PodStatus(
            phase=phase,
            reason=reason,
            conditions=conditions,
            container_statuses=made,
            init_container_statuses=begun,
        ),
    )


@pytest.mark.parametrize(
    ("obj", "ready", "word"),
    [
        (pod(RUNNING), "1/1", "Running"),
        (pod(RUNNING, status(RUNNING, ready=False)), "1/2", "Running"),
        (pod(phase="Pending"), "0/1", "Pending"),
        (pod(waiting("ContainerCreating"), phase="Pending"), "0/1", "ContainerCreating"),
        (pod(waiting("CrashLoopBackOff")), "0/1", "CrashLoopBackOff"),
        (pod(ended(1, "Error")), "0/1", "Error"),
        (pod(ended(0, "Completed"), phase="Succeeded"), "0/1", "Completed"),
        (pod(ended(3)), "0/1", "ExitCode:3"),
        (pod(ended(0, number=9)), "0/1", "Signal:9"),
        (pod(ended(0, "Completed"), RUNNING, conditions=(READY,)), "1/2", "Running"),
        (pod(ended(0, "Completed"), RUNNING), "1/2", "NotReady"),
        (pod(waiting("First"), waiting("Second")), "0/2", "First"),
        (pod(phase="Failed", reason="Evicted"), "0/1", "Evicted"),
        (pod(RUNNING, deleted="2020-01-01T00:00:00Z"), "1/1", "Terminating"),
        (pod(ended(0, "Completed"), phase="Succeeded", deleted="2020-01-01T00:00:00Z"), "0/1", "Completed"),
        (pod(waiting("PodInitializing"), init=(RUNNING, waiting("PodInitializing"))), "0/1", "Init:0/2"),
        (pod(init=(ended(0), waiting("PodInitializing")), phase="Pending"), "0/1", "Init:1/2"),
        (pod(init=(waiting("CrashLoopBackOff"),), phase="Pending"), "0/1", "Init:CrashLoopBackOff"),
        (pod(init=(ended(1, "Error"),), phase="Pending"), "0/1", "Init:Error"),
        (pod(init=(ended(2),), phase="Pending"), "0/1", "Init:ExitCode:2"),
        (pod(init=(ended(2, number=15),), phase="Pending"), "0/1", "Init:Signal:15"),
        (pod(RUNNING, init=(ended(0),), conditions=(INITIALIZED,)), "1/1", "Running"),
    ],
)
def test_ready_and_status(obj, ready, word):
    assert pods.cells(obj)[1:3] == (ready, word)


def test_restarts_are_counted_over_the_containers_and_the_last_one_is_dated(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1577836805)  # 2020-01-01T00:00:05Z
    before, now = (ended(1, at=f"{time}Z") for time in ("2019-12-31T23:00:00", "2020-01-01T00:00:00"))
    obj = pod(status(RUNNING, restarts=1, last=before), status(RUNNING, restarts=2, last=now))
    assert pods.restarts(obj) == "3 (5s ago)"


def test_restarts_without_a_known_end_are_only_counted():
    assert pods.restarts(pod(status(RUNNING, restarts=4))) == "4"


def test_an_unplaced_pod_has_no_address_and_no_node():
    assert pods.cells(pod(phase="Pending"))[5:] == ("<none>", "<none>", "<none>", "<none>")
