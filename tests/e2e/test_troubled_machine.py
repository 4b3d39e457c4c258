"""On a machine in trouble a testbed comes up all the same, or says what it lacks."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import machine
import pytest
from machine import NAME, emu

from emu.kernel import process, syscalls
from emu.kernel.process import Completed
from tests.kernel import leaks

pytestmark = pytest.mark.root

TOPOLOGY = str(machine.ROOT / "topologies" / NAME)
ROOM = "/run/room"


def refused(directory: str) -> str:
    """What `emu up` says, which must be neither a success nor a stack trace."""
    up = emu("up", TOPOLOGY, check=False, EMU_RUNTIME_DIR=directory)
    assert up.code == 3, up
    assert "Traceback" not in up.stderr
    return up.stderr


def mount(options: str, flags: int = 0) -> None:
    os.makedirs(ROOM, exist_ok=True)
    syscalls.mount("tmpfs", ROOM, "tmpfs", flags, f"mode=700,{options}")


@machine.on_a_machine
def test_a_disk_without_room_for_files_is_named():
    mount("nr_inodes=1")
    assert f"error: {ROOM}/{NAME} cannot be used: No space left on device" in refused(ROOM)
    for inodes in range(2, 6):  # for the directory, the lock, the log, one socket
        syscalls.mount("tmpfs", ROOM, flags=syscalls.MS_REMOUNT, data=f"nr_inodes={inodes}")
        assert f"error: {ROOM}/{NAME} cannot be used: No space left on device" in refused(ROOM)
    syscalls.mount("tmpfs", ROOM, flags=syscalls.MS_REMOUNT, data="nr_inodes=6")
    assert emu("up", TOPOLOGY, EMU_RUNTIME_DIR=ROOM).code == 0


@machine.on_a_machine
def test_a_full_disk_costs_the_log_and_no_more():
    before = leaks.snapshot()
    mount("size=8k")
    Path(ROOM, "full").write_bytes(b"." * 8192)
    assert emu("up", TOPOLOGY, EMU_RUNTIME_DIR=ROOM).code == 0
    assert emu("trace", "client", "web:80", EMU_RUNTIME_DIR=ROOM).code == 0
    assert emu("scale", "deployment", "nginx-hello", "--replicas", "3", EMU_RUNTIME_DIR=ROOM).code == 0
    assert emu("check", EMU_RUNTIME_DIR=ROOM).code == 0
    assert emu("down", EMU_RUNTIME_DIR=ROOM).code == 0
    syscalls.umount2(ROOM, 0)
    leaks.nothing_left(before)


@machine.on_a_machine
def test_a_directory_that_cannot_be_written_to_is_named():
    mount("size=1m")
    syscalls.mount("tmpfs", ROOM, flags=syscalls.MS_REMOUNT | syscalls.MS_RDONLY)
    assert f"error: {ROOM}/{NAME} cannot be used: Read-only file system" in refused(ROOM)
    assert "hint: set EMU_RUNTIME_DIR" in refused(ROOM)
    assert f"{ROOM}/a/b cannot be used: No such file or directory" in refused(f"{ROOM}/a/b")
    assert "/etc/passwd is not a directory of ours: Not a directory" in refused("/etc/passwd")


@machine.on_a_machine
def test_what_a_killed_testbed_has_left_in_its_directory_is_used_again():
    emu("up", TOPOLOGY)
    machine.kill()
    folder = machine.RUNTIME / NAME
    assert {each.name for each in folder.iterdir()} == {"api.sock", "attach.sock", "lock", "log"}
    assert emu("up", TOPOLOGY).code == 0  # at once
    machine.kill()
    for name in ("api.sock", "attach.sock", "lock", "log"):
        (folder / name).unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "api.sock"))
    (folder / "attach.sock").symlink_to("/etc/passwd")
    (folder / "lock").write_text("1234\n")
    assert emu("ls", "-o", "name").stdout == ""
    assert emu("up", TOPOLOGY).code == 0
    assert emu("check").code == 0
    assert emu("down").code == 0


@machine.on_a_machine
def test_what_is_in_the_way_of_a_socket_is_named():
    (machine.RUNTIME / NAME / "api.sock" / "full").mkdir(parents=True)
    machine.RUNTIME.chmod(0o700)
    (machine.RUNTIME / NAME).chmod(0o700)
    assert "cannot be used: Is a directory (api.sock)" in refused(str(machine.RUNTIME))


@machine.on_a_machine
def test_1024_open_files_are_enough_for_two_nodes():
    assert limited(1024, "verify", TOPOLOGY).code == 0


@machine.on_a_machine
def test_too_few_open_files_are_told_with_the_number_before_anything_is_made():
    up = limited(120, "up", TOPOLOGY)
    assert up.code == 3
    assert "11 network namespaces need 129 open files, 120 are allowed" in up.stderr
    assert "prlimit --pid $$ --nofile=129" in up.stderr
    assert limited(129, "up", TOPOLOGY).code == 0
    scale = emu("scale", "deployment", "netshoot", "--replicas", "4", check=False)
    assert (scale.code, "14 network namespaces need 138 open files" in scale.stderr) == (3, True)
    assert emu("check").code == 0
    assert "netshoot      1/1" in emu("get", "deployments").stdout
    assert emu("scale", "deployment", "netshoot", "--replicas", "0").code == 0


def limited(files: int, *arguments: str) -> Completed:
    """The command line with so many open files at most."""
    env = {**process.ENVIRONMENT, **machine.PYTHON, "EMU_RUNTIME_DIR": str(machine.RUNTIME)}
    argv = ["prlimit", f"--nofile={files}:{files}", "--", *machine.command(*arguments)]
    return process.run(argv, env=env, check=False, timeout_s=60)


GC_THRESH3 = "net.ipv4.neigh.default.gc_thresh3"
LIMITS = {
    GC_THRESH3: "neighbor entries of IPv4 when all of it is in use",
    "net.netfilter.nf_conntrack_max": "entries of connection tracking on one Node",
    "kernel.pty.max": "pseudo-terminals",
    "kernel.pid_max": "processes",
    "user.max_net_namespaces": "network namespaces",
    "user.max_mnt_namespaces": "mount namespaces",
    "user.max_pid_namespaces": "PID namespaces",
    "user.max_uts_namespaces": "UTS namespaces",
}


@machine.on_a_machine
def test_what_a_machine_has_too_little_of_is_told_with_the_number():
    for setting, what in LIMITS.items():
        granted = pretend(setting, 1)
        said = refused(str(machine.RUNTIME))
        found = re.search(rf"need (\d+) {re.escape(what)}, -?\d+ are allowed", said)
        assert found, said
        enough = re.search(rf"hint: .*sysctl -w {re.escape(setting)}=(?:\$\(\()?(\d+)", said)
        assert enough, said
        assert int(enough[1]) >= int(found[1])
        syscalls.umount2(granted, 0)


@machine.on_a_machine
def test_a_cluster_grows_as_far_as_the_machine_grants_and_its_user_may_know_better():
    granted = pretend(GC_THRESH3, 10)
    need = int(re.search(r"need (\d+) neighbor entries", refused(str(machine.RUNTIME)))[1])
    assert emu("up", TOPOLOGY, "--name", "better", EMU_IGNORE_LIMITS="neighbors-ipv4").code == 0
    assert emu("down", "better").code == 0
    syscalls.umount2(granted, 0)
    pretend(GC_THRESH3, need + SPARE)
    assert emu("up", TOPOLOGY).code == 0
    scale = emu("scale", "deployment", "nginx-hello", "--replicas", str(SPARE), check=False)
    assert (scale.code, "neighbor entries of IPv4" in scale.stderr) == (3, True), scale
    assert emu("check").code == 0


SPARE = 50  # entries: more than a small change needs, and fewer than so many Pods


def pretend(setting: str, value: int) -> str:
    """A file over the kernel's own, to be seen by this pretended machine alone: to be unmounted. gc_thresh3 is not
    there at all, as its network namespace is not the machine's first."""
    target = Path("/proc/sys", setting.replace(".", "/"))
    if target.exists():
        file = Path("/run", target.name)
        file.write_text(f"{value}\n")
        syscalls.mount(str(file), str(target), flags=syscalls.MS_BIND)
        return str(target)
    place = next(each for each in target.parents if each.exists())
    syscalls.mount("tmpfs", str(place), "tmpfs")
    target.parent.mkdir(parents=True)
    target.write_text(f"{value}\n")
    return str(place)
