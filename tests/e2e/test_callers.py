"""Who talks to a testbed may vanish at any moment: the testbed goes on as if nothing had been asked, unless it was
brought up for that command alone."""

from __future__ import annotations

import os
import random
import signal
import time

import machine
import pytest
from inside import wait_until
from machine import NAME, emu, emu_started

from emu.kernel import process
from tests.kernel import leaks

pytestmark = pytest.mark.root

TOPOLOGY = str(machine.ROOT / "topologies" / NAME)
COMMANDS = (  # that take long
    ("verify",),
    ("trace", "client", "web:80", "--", "sleep", "1000"),
    ("capture", "all", "-w", "/run/all.pcapng"),
    ("exec", "client", "--", "sh", "-c", "sleep 1000; true"),
    ("exec", "node/node1", "--", "ping", "-i", "0.01", "192.168.100.12"),
    ("get", "pods", "--watch"),
    ("logs", "-f", "client"),
)


def held() -> dict[str, int]:
    """What the testbed's first process holds."""
    proc = f"/proc/{machine.pid()}"
    return {"threads": len(os.listdir(f"{proc}/task")), "files": len(os.listdir(f"{proc}/fd"))}


@machine.on_a_machine
def test_sigkill_of_its_callers_leaves_a_testbed_as_it_was():
    emu("up", TOPOLOGY)
    assert emu("trace", "client", "web:80").code == emu("check").code == 0  # what is made on first use is there
    moments, before, first = random.Random("callers"), leaks.snapshot(), held()
    for arguments in COMMANDS:
        for _ in range(2):
            caller = emu_started(*arguments)
            time.sleep(moments.uniform(0.3, 0.8))  # the command line itself takes 0.2 s
            assert caller.code is None, arguments
            caller.signal(signal.SIGKILL)
        leaks.nothing_left(before)
    for node in ("node1", "node2"):
        assert "kube_emu_trace" not in machine.inside(["nft", "list", "tables"], node)
    wait_until(lambda: held() == first, what=f"{first} held, as before", timeout_s=15)
    assert emu("check").code == 0
    assert emu("verify").code == 0


@machine.on_a_machine
def test_a_testbed_brought_up_for_one_verify_ends_with_it_however_that_ends():
    moments, before = random.Random("verify"), leaks.snapshot()
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT) * 2:
        verifying = emu_started("verify", TOPOLOGY)
        time.sleep(moments.uniform(0.2, 1.5))
        verifying.signal(number)
        leaks.nothing_left(before)


@machine.on_a_machine
def test_the_testbed_of_a_mininet_prompt_goes_when_the_terminal_is_closed():
    before = leaks.snapshot()
    master, slave = os.openpty()
    prompt = emu_started("up", "-i", TOPOLOGY, terminal=slave)
    os.close(slave)
    said = b""
    while b"mininet>" not in said:
        said += os.read(master, 4096)
    assert machine.pid()
    os.close(master)
    prompt.wait(10)
    leaks.nothing_left(before)


@machine.on_a_machine
def test_lines_from_a_pipe_are_run_by_the_mininet_prompt_and_nothing_is_left():
    before = leaks.snapshot()
    argv = machine.command("up", "-i", TOPOLOGY)
    env = {**process.ENVIRONMENT, **machine.PYTHON, "EMU_RUNTIME_DIR": str(machine.RUNTIME)}
    done = process.run(argv, stdin="client hostname\nnode1 ip route\n", env=env)
    assert "\nclient\n" in done.stdout.replace("\r", "")
    assert "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in done.stdout
    leaks.nothing_left(before)
