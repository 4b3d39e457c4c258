"""A Pod sees the machine's programs and nothing else of it, and ends with all it has started."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import leaks
import pytest

from emu.errors import NoSuchProgram
from emu.kernel import netns, pods, process, sandbox, syscalls
from emu.plan.model import File, PodSandbox

pytestmark = pytest.mark.root

RUNTIME = Path("/run/kube-emu")
RESOLV = "search default.svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"


def pod(name: str) -> PodSandbox:
    files = (File(path="/etc/resolv.conf", text=RESOLV), File(path="/etc/hosts", text="127.0.0.1 localhost\n"))
    return PodSandbox(
        namespace="default", name=name, uid=name, node="node1", hostname=name, addresses=(), files=files, processes=()
    )


class Lab:
    """Pods `web` and `db` of a lab, for a test that runs as its first process."""

    def __init__(self) -> None:
        self.makers = pods.PodNamespaces()
        process.Reaper()
        self.places = netns.create_all(("default.web", "default.db"))
        self.web, self.db = (
            self.makers.ensure(place, pod(name)) for place, name in zip(self.places, ("web", "db"), strict=True)
        )

    def output(self, script: str, handle: pods.PodHandle | None = None) -> str:
        reading, writing = os.pipe()
        self.makers.spawn(handle or self.web, ["sh", "-c", script], process.ENVIRONMENT, stdout=writing, stderr=writing)
        os.close(writing)
        with os.fdopen(reading) as output:
            return output.read()


def in_a_lab(test: Callable[[Lab], None], prepare: Callable[[], None] = lambda: None) -> Callable[[], None]:
    def main(lab: sandbox.Sandbox) -> None:
        test(Lab())
        lab.ready()
        lab.wait()

    def machine() -> None:
        prepare()
        try:
            sandbox.launch("one", RUNTIME, main)
        except Exception as error:
            raise AssertionError((RUNTIME / "one" / "log").read_text()) from error
        sandbox.stop("one", RUNTIME)

    def run() -> None:
        leaks.pretend_machine(machine)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@in_a_lab
def test_a_pod_has_its_own_names_and_files(lab: Lab):
    assert lab.output("hostname; cat /etc/resolv.conf /etc/hosts /etc/hostname; grep hosts: /etc/nsswitch.conf") == (
        f"web\n{RESOLV}127.0.0.1 localhost\nweb\nhosts: files dns\n"
    )
    assert lab.output("hostname", lab.db) == "db\n"


@in_a_lab
def test_the_machine_is_read_only_and_scratch_is_private(lab: Lab):
    for path in ("/usr/x", "/etc/x", "/x", "/var/lib/x"):
        assert "Read-only file system" in lab.output(f"echo >{path}")
    for path in ("/tmp", "/run", "/var/tmp", "/var/log", "/dev/shm"):
        assert lab.output(f"echo mine >{path}/x; cat {path}/x") == "mine\n"
        assert "No such file" in lab.output(f"cat {path}/x", lab.db)
        assert not os.path.exists(f"{path}/x")
    assert lab.output("echo gone >/dev/null; ls /run") == "lock\nx\n"


@in_a_lab
def test_a_pod_sees_its_own_processes_and_links_only(lab: Lab):
    lab.makers.spawn(lab.db, ["sleep", "1000"], process.ENVIRONMENT)
    assert lab.output("ps -A -o comm=").split() == ["sleep", "sh", "ps"]
    assert lab.output("ls /sys/class/net") == "lo\n"
    assert lab.output("env").splitlines() == [*(f"{k}={v}" for k, v in process.ENVIRONMENT.items()), "PWD=/"]


@in_a_lab
def test_a_daemon_that_forked_twice_ends_with_its_pod(lab: Lab):
    lab.output("(setsid sh -c 'sleep 1000 </dev/null >/dev/null 2>&1 & sleep 1001 </dev/null >/dev/null 2>&1 &' &)")
    assert "sleep 1000" in process.run(["ps", "-A", "-o", "args="]).stdout
    pid = lab.web.pid
    lab.makers.destroy(lab.web)
    assert "sleep 100" not in process.run(["ps", "-A", "-o", "args="]).stdout
    assert not os.path.exists(f"/proc/{pid}")
    lab.makers.destroy(lab.web)  # once more: nothing to do


@in_a_lab
def test_orphans_in_a_pod_leave_no_zombies(lab: Lab):
    lab.output("(sh -c 'sleep 0.01' &) ; sleep 0.1")
    assert "defunct" not in lab.output("ps -A")


@in_a_lab
def test_ensure_gives_the_same_pod_until_it_is_gone(lab: Lab):
    assert lab.makers.ensure(lab.places[0], pod("web")) is lab.web
    assert lab.makers.find("default", "web") is lab.web
    os.kill(lab.web.pid, 9)
    assert lab.web.ended(5)
    again = lab.makers.ensure(lab.places[0], pod("web"))
    assert lab.output("hostname", again) == "web\n"


@in_a_lab
def test_a_program_that_a_pod_has_not_is_told_in_the_words_of_a_container_runtime(lab: Lab):
    for program, why in (
        ("nosuch", "executable file not found in $PATH"),
        ("/no/such", "stat /no/such: no such file or directory"),
    ):
        with pytest.raises(NoSuchProgram) as error:
            lab.makers.spawn(lab.web, [program], process.ENVIRONMENT)
        assert str(error.value) == f'exec: "{program}": {why}'


@in_a_lab
def test_a_program_of_a_pod_can_have_a_terminal(lab: Lab):
    master, slave = os.openpty()
    child = lab.makers.spawn(
        lab.web, ["sh", "-c", "tty; hostname >/dev/tty"], process.ENVIRONMENT, stdin=slave, stdout=slave, tty=True
    )
    os.close(slave)
    assert child.wait(5) == 0
    seen = os.read(master, 1000)
    assert seen.split()[0].startswith(b"/dev/pts/") and seen.split()[1] == b"web"


def resolved_machine() -> None:
    """A machine like many: resolv.conf is a link into /run, nsswitch.conf is not there."""
    syscalls.mount("tmpfs", "/mnt", "tmpfs")
    os.symlink("../run/systemd/resolve/stub-resolv.conf", "/mnt/resolv.conf")
    os.symlink("../usr/lib/os-release", "/mnt/os-release")
    for name in ("hosts", "passwd"):
        Path("/mnt", name).write_bytes(Path("/etc", name).read_bytes())
    Path("/mnt/ssl").mkdir()
    Path("/mnt/ssl/cert").write_text("a certificate")
    syscalls.mount("/mnt", "/etc", flags=syscalls.MS_BIND)


def links(lab: Lab) -> None:
    assert lab.output("cat /etc/resolv.conf") == RESOLV
    assert "hosts: files dns" in lab.output("cat /etc/nsswitch.conf")
    assert lab.output("cat /etc/ssl/cert; grep -c ^root: /etc/passwd; grep -c ^ID= /etc/os-release") == (
        "a certificate1\n1\n"
    )
    assert os.readlink("/etc/resolv.conf").endswith("stub-resolv.conf")


def test_a_machine_whose_resolv_conf_is_a_link_and_nsswitch_conf_missing_will_do():
    in_a_lab(links, resolved_machine)()
