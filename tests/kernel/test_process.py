"""Programs are run, watched and reaped; in other namespaces when asked."""

from __future__ import annotations

import os
import signal
import socket
import threading

import pytest

from emu.errors import KernelError, MissingTool
from emu.kernel import children, netns, process, syscalls

pytestmark = pytest.mark.root


def test_run_gives_input_output_and_status():
    done = process.run(["sh", "-c", "cat; echo talk >&2; exit 3"], stdin="data " * 100_000, check=False)
    assert (done.code, done.stderr, len(done.stdout)) == (3, "talk\n", 500_000)


def test_a_failing_program_is_an_error_that_carries_its_stderr():
    with pytest.raises(KernelError, match="exit status 2: no such chain"):
        process.run(["sh", "-c", "echo no such chain >&2; exit 2"])


def test_a_program_that_hangs_is_killed_with_its_children():
    with pytest.raises(KernelError, match=r"not finished after 0\.1 s"):
        process.run(["sh", "-c", "sleep 1000 & wait"], timeout_s=0.1)


def test_a_missing_program_and_a_missing_directory_are_told_apart():
    with pytest.raises(MissingTool, match="no-such-program"):
        process.run(["no-such-program"])
    with pytest.raises(KernelError, match="no directory /no/such"):
        process.spawn(["true"], cwd="/no/such")


def test_nothing_of_our_environment_or_open_files_is_inherited(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    shown = process.run(["sh", "-c", "env; ls /proc/$$/fd"]).stdout
    os.close(leaked)
    assert "proxy" not in shown
    assert shown.endswith("\n0\n1\n2\n")


def test_each_program_has_a_session_of_its_own():
    child = process.spawn(["sleep", "1000"])
    assert os.getsid(child.pid) == child.pid
    child.kill()
    assert child.wait(5) == -signal.SIGKILL
    child.signal(signal.SIGTERM)  # harmless once it has ended


def test_on_exit_is_told_the_status():
    told = threading.Event()
    codes = []
    process.spawn(["sh", "-c", "exit 7"], on_exit=lambda code: (codes.append(code), told.set()))
    assert told.wait(5) and codes == [7]


def test_a_program_starts_in_another_network_namespace_and_we_stay():
    before = os.readlink("/proc/thread-self/ns/net")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    there = netns.Netns("there", os.open("/proc/thread-self/ns/net", os.O_RDONLY))
    syscalls.setns(home, syscalls.CLONE_NEWNET)
    try:
        seen = process.run(["readlink", "/proc/self/ns/net"], ns=there).stdout.strip()
    finally:
        os.close(home)
        os.close(there.fd)
    assert os.readlink("/proc/thread-self/ns/net") == before != seen


def test_a_terminal_becomes_the_controlling_one():
    master, slave = os.openpty()
    child = process.spawn(["sh", "-c", "echo hi >/dev/tty"], stdin=slave, stdout=slave, stderr=slave, tty=True)
    os.close(slave)
    assert child.wait(5) == 0
    assert os.read(master, 100) == b"hi\r\n"
    os.close(master)


def test_a_service_answers_on_its_socket_and_ends_with_it():
    def echo(control: socket.socket) -> None:
        while data := control.recv(100):
            control.sendall(data + b" from " + str(len(os.listdir("/proc/self/fd"))).encode())

    control = process.start_service("echo", echo)
    control.sendall(b"hello")
    assert control.recv(100) == b"hello from 5"  # 0, 1, 2, the socket and the listing itself
    (pid,) = [pid for pid, child in children.known.items() if child.name == "echo"]
    control.close()
    assert children.collect(pid).code == 0


REAPING = """
import os, threading
from emu.kernel import process

process.Reaper()
codes, done = [], threading.Semaphore(0)
for number in range(20):
    process.spawn(["sh", "-c", f"(sleep 0.05; exit 9) & exit {number}"],
                  on_exit=lambda code: (codes.append(code), done.release()))
for number in range(20):
    assert done.acquire(timeout=5)
assert sorted(codes) == list(range(20)), codes
assert process.run(["sh", "-c", "sleep 0.2; cat /proc/[0-9]*/stat | grep -c ' Z '"], check=False).stdout == "0\\n"
print("reaped")
"""


def test_as_pid_1_the_reaper_reaps_orphans_and_reports_its_own():
    python = ["/usr/bin/env", f"PYTHONPATH={os.getcwd()}", os.sys.executable, "-c", REAPING]
    done = process.run(["unshare", "--pid", "--fork", "--mount-proc", *python])
    assert done.stdout == "reaped\n"
