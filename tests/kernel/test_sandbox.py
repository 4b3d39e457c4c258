"""A lab is a machine of its own, and leaves nothing of itself on ours, however it ends."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
import time
from pathlib import Path

import leaks
import pytest

from emu.errors import InputError, KernelError, MissingFeature
from emu.kernel import netns, pods, process, runtime_dir, sandbox, syscalls
from emu.plan.model import PodSandbox

pytestmark = pytest.mark.root

RUNTIME = Path("/run/kube-emu")  # of a pretended machine


def serve(lab: sandbox.Sandbox) -> None:
    lab.ready()
    lab.wait()


def run_there(script: str) -> str:
    """The output of a shell script in a lab, which ends after it."""
    reading, writing = os.pipe()

    def main(lab: sandbox.Sandbox) -> None:
        os.write(writing, process.run(["sh", "-c", script]).stdout.encode())
        serve(lab)

    sandbox.launch("asked", RUNTIME, main)
    sandbox.stop("asked", RUNTIME)
    os.close(writing)
    with os.fdopen(reading) as output:
        return output.read()


def busy(lab: sandbox.Sandbox) -> None:
    """Everything a lab is made of: services, namespaces, Pods with programs, threads."""
    makers = pods.PodNamespaces()
    process.start_service("idle", lambda control: control.recv(1))
    process.Reaper()
    for number, place in enumerate(netns.create_all(f"pod{number}" for number in range(4))):
        lab.progress("Pods", number, 4)
        handle = makers.ensure(place, pod(f"p{number}"))
        makers.spawn(handle, ["sh", "-c", "(setsid sleep 1000 &)"], process.ENVIRONMENT)
    serve(lab)


def pod(name: str) -> PodSandbox:
    return PodSandbox(
        namespace="default", name=name, uid=name, node="node1", hostname=name, addresses=(), files=(), processes=()
    )


def on_a_pretended_machine(test):
    def run() -> None:
        leaks.pretend_machine(test)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_a_pretended_machine
def test_up_and_down_leave_nothing_and_change_nothing():
    before = leaks.snapshot(sysctls=True)
    sandbox.launch("one", RUNTIME, busy)
    during = leaks.snapshot(sysctls=True)
    for field in ("links", "network", "mounts", "cgroups", "sysctls"):
        assert getattr(during, field) == getattr(before, field)
    assert len(during.processes) > len(before.processes) + 4
    sandbox.stop("one", RUNTIME)
    leaks.nothing_left(before)


@on_a_pretended_machine
def test_sigkill_at_any_moment_of_a_start_leaves_nothing_and_the_next_start_works():
    before = leaks.snapshot()
    moments = random.Random(2)
    for victim in ("caller", "lab") * 15:
        caller = os.fork()
        if not caller:
            try:
                sandbox.launch("one", RUNTIME, busy)
            finally:
                os._exit(0)
        time.sleep(moments.uniform(0, 0.04))  # the moment: what is tested, not waited for
        if victim == "caller":
            os.kill(caller, signal.SIGKILL)
        elif found := runtime_dir.info("one", RUNTIME):
            os.kill(found.pid, signal.SIGKILL)
        os.waitpid(caller, 0)
        if found := runtime_dir.info("one", RUNTIME):  # it was ready: nobody's but its own
            try:
                os.kill(found.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        leaks.nothing_left(before)
    sandbox.launch("one", RUNTIME, busy)
    sandbox.stop("one", RUNTIME)
    leaks.nothing_left(before)


@on_a_pretended_machine
def test_an_interrupted_start_takes_the_lab_with_it():
    before = leaks.snapshot()

    def interrupt(text: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sandbox.launch("one", RUNTIME, busy, progress=interrupt)
    assert sandbox.running(RUNTIME) == []
    leaks.nothing_left(before)


@on_a_pretended_machine
def test_a_testbed_of_that_name_runs_already():
    sandbox.launch("one", RUNTIME, serve)
    with pytest.raises(InputError, match="testbed one: is already running"):
        sandbox.launch("one", RUNTIME, serve)
    assert [testbed.name for testbed in sandbox.running(RUNTIME)] == ["one"]
    sandbox.stop("one", RUNTIME)
    with pytest.raises(InputError, match="testbed one: is not running"):
        sandbox.stop("one", RUNTIME)


@on_a_pretended_machine
def test_two_labs_live_side_by_side():
    sandbox.launch("one", RUNTIME, busy)
    sandbox.launch("two", RUNTIME, busy)
    assert [(testbed.name, testbed.ready) for testbed in sandbox.running(RUNTIME)] == [("one", True), ("two", True)]
    sandbox.stop("one", RUNTIME)
    assert [testbed.name for testbed in sandbox.running(RUNTIME)] == ["two"]
    sandbox.stop("two", RUNTIME)


@on_a_pretended_machine
def test_a_lab_that_refuses_sigterm_is_killed():
    sandbox.launch("one", RUNTIME, lambda lab: (lab.ready(), signal.pause(), signal.pause(), signal.pause()))
    sandbox.stop("one", RUNTIME, grace_s=0.1)
    assert sandbox.running(RUNTIME) == []


@on_a_pretended_machine
def test_an_error_of_the_lab_is_raised_in_the_caller_as_it_is():
    def fail(lab: sandbox.Sandbox) -> None:
        raise MissingFeature("vxlan links", module="vxlan")

    with pytest.raises(MissingFeature, match=r"no vxlan links \(kernel module vxlan\)") as caught:
        sandbox.launch("one", RUNTIME, fail)
    assert (caught.value.hint, caught.value.exit_code) == ("modprobe vxlan", 3)
    with pytest.raises(KernelError, match="ZeroDivisionError"):
        sandbox.launch("one", RUNTIME, lambda lab: print(1 / 0))
    assert "ZeroDivisionError" in (RUNTIME / "one" / "log").read_text()
    assert sorted(each.name for each in (RUNTIME / "one").iterdir()) == ["lock", "log"]


@on_a_pretended_machine
def test_progress_arrives_in_order():
    seen = []
    sandbox.launch("one", RUNTIME, busy, progress=lambda *shown: seen.append(shown))
    assert seen == [("Pods", number, 4) for number in range(4)]
    sandbox.stop("one", RUNTIME)


@on_a_pretended_machine
def test_in_the_foreground_launch_returns_when_the_lab_has_ended():
    def brief(lab: sandbox.Sandbox) -> None:
        lab.ready()
        threading.Timer(0.05, lab.stop).start()
        lab.wait()

    sandbox.launch("one", RUNTIME, brief, foreground=True)
    assert sandbox.running(RUNTIME) == []
    assert sorted(each.name for each in (RUNTIME / "one").iterdir()) == ["lock", "log"]


@on_a_pretended_machine
def test_nothing_of_the_machine_answers_inside():
    os.environ["http_proxy"] = "http://proxy.example:3128"
    Path("/run/nscd").mkdir()
    name_service = socket.socket(socket.AF_UNIX)
    name_service.bind("/run/nscd/socket")
    name_service.listen()
    assert "proxy" not in run_there("env")
    assert run_there("ls /run") == "bpf\nlock\nnetns\n"
    assert run_there("hostname; ls /sys/class/net; readlink /proc/1/fd/0") == "asked\nlo\n/dev/null\n"
    assert run_there("ip -o link | grep -c UP; ps -A -o pid= | head -1").split() == ["1", "1"]


@on_a_pretended_machine
def test_the_sockets_are_for_their_owner_only():
    def answer(lab: sandbox.Sandbox) -> None:
        lab.ready()
        lab.api.accept()[0].sendall(b"hello")
        lab.wait()

    deep = RUNTIME / ("d" * 100)
    RUNTIME.mkdir(mode=0o700)
    sandbox.launch("one", deep, answer)
    assert stat.S_IMODE(os.stat(deep / "one").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(deep / "one" / "api.sock").st_mode) == 0o600
    with sandbox.connect("one", deep) as connection:
        assert connection.recv(100) == b"hello"
    sandbox.stop("one", deep)
    with pytest.raises(InputError, match="is not running"):
        sandbox.connect("one", deep)


AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
ORDINARY = """
import os, sys
sys.path[:0] = [sys.argv[1], os.path.join(sys.argv[1], "tests")]
import leaks, test_sandbox
test_sandbox.as_an_ordinary_user()
"""


def as_an_ordinary_user() -> None:
    directory = sandbox.runtime_directory()
    before = leaks.snapshot()
    sandbox.launch("mine", directory, busy)
    found = runtime_dir.info("mine", directory)
    print(directory, *Path(f"/proc/{found.pid}/uid_map").read_text().split())
    sandbox.stop("mine", directory)
    leaks.nothing_left(before)


@pytest.fixture
def readable_package():
    """A copy of the package that every user can read."""
    package = Path(tempfile.mkdtemp(prefix="kube-emu-test-", dir="/var/tmp"))
    shutil.copytree(Path(sandbox.__file__).parents[1], package / "emu")
    shutil.copytree(Path(__file__).parent, package / "tests")
    process.run(["chmod", "-R", "a+rX", str(package)])
    if process.run([*AS_NOBODY, sys.executable, "-c", "import pytest"], check=False).code:
        pytest.skip(f"nobody may not run {sys.executable}")
    yield package
    shutil.rmtree(package)


def ordinary_lab(package: Path) -> str:
    """On a machine of its own, in whose /tmp nobody else is."""
    syscalls.mount("tmpfs", "/tmp", "tmpfs", data="mode=1777")
    return process.run([*AS_NOBODY, sys.executable, "-B", "-c", ORDINARY, str(package)]).stdout


def test_an_ordinary_user_has_labs_too(readable_package):
    def test() -> None:
        assert ordinary_lab(readable_package) == "/tmp/kube-emu-65534 0 65534 1\n"

    leaks.pretend_machine(test)


@pytest.mark.skipif(
    not shutil.which("newuidmap") or not Path("/etc/subuid").exists(), reason="newuidmap (package uidmap) is missing"
)
def test_an_ordinary_user_with_ranges_of_uids_has_them_in_the_lab(readable_package):
    def test() -> None:
        syscalls.mount("tmpfs", "/mnt", "tmpfs")
        for name in ("subuid", "subgid"):
            Path("/mnt", name).write_text("somebody:1:2\nnobody:200000:65536\n")
            syscalls.mount(f"/mnt/{name}", f"/etc/{name}", flags=syscalls.MS_BIND)
        assert ordinary_lab(readable_package) == "/tmp/kube-emu-65534 0 65534 1 1 200000 65536\n"

    leaks.pretend_machine(test)


@pytest.mark.parametrize("mode", [0o755, 0o770])
def test_a_runtime_directory_others_can_enter_is_refused(tmp_path, mode):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(Exception, match="is not safe"):
        runtime_dir.checked(tmp_path / "open")


def test_a_symlink_in_place_of_the_runtime_directory_is_refused(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(Exception, match="is not a directory of ours"):
        runtime_dir.checked(tmp_path / "link")


def test_a_testbed_name_is_a_file_name_and_no_more(tmp_path):
    for name in ("../up", "", "A", "-x"):
        with pytest.raises(InputError, match="testbed name"), runtime_dir.claim(name, tmp_path):
            pass


def test_the_kernel_has_pidfds_for_the_lab():
    with pytest.raises(ProcessLookupError):
        syscalls.pidfd_open(4_000_000)
