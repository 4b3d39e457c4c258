"""A testbed can be killed at any moment of its life, and nothing of it is left; the next one comes up as if it had
never been."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import machine
import pytest
from inside import apply, run, wait_until

from emu.api.objects import Deployment
from emu.kernel import syscalls
from emu.testbed.facade import Testbed
from tests.kernel import leaks

pytestmark = pytest.mark.root

MOMENTS = 8  # of each phase: 5 phases, 40 moments

DAEMONS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: daemons, labels: {app: daemons}}
spec:
  selector: {matchLabels: {app: daemons}}
  template:
    metadata: {labels: {app: daemons}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: main, image: nicolaka/netshoot, command: [sh, -c, "(setsid sleep 1000 &); exec sleep 1000"]}
---
apiVersion: v1
kind: Service
metadata: {name: daemons}
spec: {selector: {app: daemons}, ports: [{port: 80}]}
"""
DEPLOYMENT = (Deployment.KIND, "default", "daemons")


class Said:
    """What the work in a testbed has to say: a dot per round, or how it failed."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)

    def __call__(self, work: machine.Work) -> machine.Work:
        def working(testbed: Testbed) -> None:
            try:
                while True:
                    work(testbed)
                    os.write(self._writing, b".")
            except BaseException as error:
                os.write(self._writing, repr(error).encode())

        return working

    def rounds(self) -> int:
        """Since it was last asked."""
        try:
            said = os.read(self._reading, 65536)
        except BlockingIOError:
            return 0
        assert not said.strip(b"."), said
        return len(said)


def reconcile(testbed: Testbed) -> None:
    """Scale up, scale down, delete, apply."""
    apply(testbed, DAEMONS)
    testbed.scale(DEPLOYMENT, 4)
    testbed.scale(DEPLOYMENT, 1)
    testbed.delete([DEPLOYMENT, ("Service", "default", "daemons")])


def capture(testbed: Testbed) -> None:
    """At every point, into a pipe that nobody empties when it is full, while packets pass."""
    reading, writing = os.pipe()
    end = threading.Event()
    thread = threading.Thread(target=lambda: testbed.capture(("all",), writing, end))
    thread.start()
    for _ in range(5):
        run(testbed, "client", "ping -c 20 -i 0.002 -q client2; curl -s web")
    end.set()
    thread.join()
    os.close(reading)
    os.close(writing)


def verify(testbed: Testbed) -> None:
    assert all(each.ok for each in testbed.verify())


def kill_while(work: machine.Work, seed: str, within_s: float, look: Callable[[], object] = lambda: None) -> list:
    """Kill the testbed at moments of the work; the next `up` is each time the proof that the last one's left no harm.
    What `look` saw just before."""
    before, moments, said, seen, rounds = leaks.snapshot(), random.Random(seed), Said(), [], 0
    for _ in range(MOMENTS):
        machine.up(work=said(work))
        time.sleep(moments.uniform(0, within_s))  # the moment: what is tested, not waited for
        machine.kill(signal.SIGSTOP)
        seen.append(look())
        machine.kill()
        leaks.nothing_left(before)
        rounds += said.rounds()
    machine.up()
    machine.down()
    leaks.nothing_left(before)
    print(f"{seed}: {rounds} rounds in {MOMENTS} lives")
    return seen


@machine.on_a_machine
def test_sigkill_at_any_moment_of_an_up_leaves_nothing_and_the_next_up_works():
    before, moments = leaks.snapshot(), random.Random("up")
    for victim in ("caller", "testbed") * (MOMENTS // 2):
        caller = machine.forked(machine.up)
        time.sleep(moments.uniform(0, 0.5))
        if victim == "caller":
            os.kill(caller, signal.SIGKILL)
        else:
            machine.kill()
        os.waitpid(caller, 0)
        machine.kill()  # if it was ready, it was nobody's but its own
        leaks.nothing_left(before)
    machine.up()
    machine.down()
    leaks.nothing_left(before)


@machine.on_a_machine
def test_sigkill_at_any_moment_of_a_change_leaves_nothing_and_the_next_up_works():
    kill_while(reconcile, "reconcile", 0.8)


@machine.on_a_machine
def test_sigkill_at_any_moment_of_a_capture_leaves_nothing_and_the_next_up_works():
    kill_while(capture, "capture", 0.5)


@machine.on_a_machine
def test_sigkill_at_any_moment_of_a_trace_leaves_nothing_and_the_next_up_works():
    def tracing() -> bool:
        return "kube_emu_trace" in machine.inside(["nft", "list", "tables"], "node1")

    seen = kill_while(verify, "trace", 0.8, tracing)
    assert any(seen), "at no moment was netfilter's tracing switched on"


@machine.on_a_machine
def test_sigkill_at_any_moment_of_a_down_leaves_nothing_and_the_next_up_works():
    before, moments = leaks.snapshot(), random.Random("down")
    for _ in range(MOMENTS):
        machine.up()
        stopping = machine.forked(machine.down)
        time.sleep(moments.uniform(0, 0.1))
        machine.kill()
        os.waitpid(stopping, 0)
        leaks.nothing_left(before)
    machine.up()
    machine.down()
    leaks.nothing_left(before)


KINDS = {
    "net": syscalls.CLONE_NEWNET,
    "mnt": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
}


@machine.on_a_machine
def test_the_kernel_s_own_count_of_namespaces_is_what_it_was_after_kills():
    """One that neither a process nor a file nor a mount shows is counted still, against the user's limit."""
    wait_until(lambda: len(os.listdir("/proc/self/task")) == 1, what="no other thread, as a new user namespace wants")
    syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", "0 0 1"), ("gid_map", "0 0 1")):
        Path("/proc/self", name).write_text(text)
    before = {kind: count(kind) for kind in KINDS}
    machine.up()
    there = count("net")
    assert there > before["net"] + 9, f"{there} network namespaces, before them {before}"
    machine.kill()
    for work in (reconcile, capture, verify):
        machine.up(work=work)
        time.sleep(0.3)  # a moment of it
        machine.kill()
    for kind, number in before.items():
        what = f"{number} namespaces: {kind}"
        wait_until(lambda kind=kind, number=number: one_more(kind, number + 1), what, timeout_s=60)


def count(kind: str) -> int:
    """How many the user has in this user namespace: the smallest limit that still allows one more, less that one. The
    one more is counted for a while still: the kernel takes network namespaces down later, and all in one queue."""
    return next(allowed for allowed in itertools.count() if one_more(kind, allowed)) - 1


def one_more(kind: str, allowed: int) -> bool:
    """Whether one more can be made where so many are allowed. Nothing is made if not."""
    limit = Path(f"/proc/sys/user/max_{kind}_namespaces")
    usual = limit.read_text()
    limit.write_text(str(allowed))
    try:
        return _made(kind)
    finally:
        limit.write_text(usual)


def _made(kind: str) -> bool:
    child = os.fork()
    if not child:
        try:
            syscalls.unshare(KINDS[kind])
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
