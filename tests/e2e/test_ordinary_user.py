"""An ordinary user, who has no more than the machine allows everybody, has testbeds too."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import machine
import pytest
from machine import NAME

from emu.kernel import process, programs
from emu.kernel.process import Completed
from tests.kernel import leaks

pytestmark = pytest.mark.root

UID = 65534
NEIGHBOR = ["neighbor", "10.0.2.2", "dev", "eth0", "lladdr"]  # of client2, which is on node2
AS_USER = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]


class Ordinary:
    """The command line in such hands, from a copy of the package that everybody can read, with a directory beside it
    that is nobody else's."""

    def __init__(self, package: Path) -> None:
        self.package, self.topology, self.runtime = package, str(package / "topologies" / NAME), package / "run"
        self.runtime.mkdir(mode=0o700)
        os.chown(self.runtime, UID, UID)

    def __call__(self, *arguments: str, check: bool = True) -> Completed:
        own = {"PYTHONPATH": str(self.package), "HOME": "/nonexistent", "EMU_RUNTIME_DIR": str(self.runtime)}
        env = {**process.ENVIRONMENT, **machine.PYTHON, **own}
        return process.run([*AS_USER, *machine.command(*arguments)], env=env, check=check, timeout_s=60)


@pytest.fixture
def emu() -> Iterator[Ordinary]:
    if process.run([*AS_USER, sys.executable, "-c", "import click"], check=False).code:
        pytest.skip(f"uid {UID} may not run {sys.executable}")
    package = Path(tempfile.mkdtemp(prefix="kube-emu-ordinary-"))
    try:
        for name in ("emu", "topologies"):
            shutil.copytree(machine.ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
        process.run(["chmod", "-R", "a+rX", str(package)])
        yield Ordinary(package)
    finally:
        shutil.rmtree(package)


def test_an_ordinary_user_brings_up_traces_verifies_enters_and_takes_down(emu: Ordinary) -> None:
    def test() -> None:
        before = leaks.snapshot()
        assert "is up: 2 nodes" in emu("up", emu.topology).stdout
        assert emu("ls", "-o", "name").stdout.split() == [NAME]

        lease = emu("exec", "node/node2", "--", "cat", "/run/flannel/subnet.env").stdout
        assert "FLANNEL_SUBNET=10.244.2.1/24" in lease
        path = emu("trace", "client", "nginx-svc:80").stdout  # of which the one server is on the other Node
        assert "the observed path is the predicted one" in path
        assert "flannel.1" in path
        assert "PREROUTING → KUBE-SERVICES → KUBE-SVC-" in path  # netfilter's own trace
        assert "-t nat -A KUBE-SEP-" in path

        assert emu("verify").code == 0
        assert emu("exec", "client", "--", "curl", "-sI", "nginx-svc").stdout.startswith("HTTP/1.1 200 OK")
        assert emu("exec", "client", "--", "sh", "-c", "id -u; hostname; echo > /tmp/x").stdout == "0\nclient\n"
        assert emu("exec", "client", "--", "touch", "/usr/x", check=False).code == 1
        emu("scale", "deployment", "nginx-hello", "--replicas", "3")
        emu("delete", "pod", "client2")
        assert emu("check").stdout == "the kernel is as planned\n"
        assert emu("down").stdout == f"testbed {NAME} is down\n"
        leaks.nothing_left(before)

    leaks.pretend_machine(test)


def test_an_ordinary_user_s_vpc_answers_arp_for_its_interfaces(emu: Ordinary) -> None:
    """By nftables at the hooks of devices, which every namespace has."""

    def test() -> None:
        assert "is up: 2 nodes" in emu("up", str(emu.package / "topologies" / "two-node-aws-vpc")).stdout
        path = emu("trace", "client", "client2", "--icmp").stdout
        assert "the observed path is the predicted one" in path
        mac = next(line.split()[5] for line in path.splitlines() if line.split()[:5] == NEIGHBOR)
        assert f"link/ether {mac} " in emu("exec", "node/node2", "--", "ip", "link", "show", "eth0").stdout
        assert emu("check").stdout == "the kernel is as planned\n"
        emu("down")

    leaks.pretend_machine(test)


def test_an_ordinary_user_s_testbed_is_killed_and_leaves_nothing(emu: Ordinary) -> None:
    def test() -> None:
        before = leaks.snapshot()
        for _ in range(3):
            emu("up", emu.topology)
            machine.kill(directory=emu.runtime)
            leaks.nothing_left(before)

    leaks.pretend_machine(test)


@pytest.mark.skipif(programs.has_module(), reason="the ipip module is loaded: eBPF is not needed")
def test_an_ordinary_user_is_told_both_ways_to_a_tunnel_that_needs_ebpf(emu: Ordinary) -> None:
    def test() -> None:
        before = leaks.snapshot()
        refused = emu("up", str(emu.package / "topologies" / "two-node-calico-ipip"), check=False)
        assert refused.code == 3, refused.stderr
        assert "the ipip module is not loaded, and an ordinary user may load no eBPF programs" in refused.stderr
        assert "hint: sudo modprobe ipip, or run emu as root" in refused.stderr
        leaks.nothing_left(before)

    leaks.pretend_machine(test)


def test_an_ordinary_user_is_told_that_cilium_is_ebpf_and_needs_root(emu: Ordinary) -> None:
    def test() -> None:
        before = leaks.snapshot()
        refused = emu("up", str(emu.package / "topologies" / "two-node-cilium"), check=False)
        assert refused.code == 3, refused.stderr
        assert "cni cilium is made of eBPF programs, and an ordinary user may load none" in refused.stderr
        assert "hint: run emu as root" in refused.stderr
        leaks.nothing_left(before)

    leaks.pretend_machine(test)
