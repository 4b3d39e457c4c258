"""A testbed and the machine it runs on know nothing of each other; nor do two testbeds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import machine
import pytest
from inside import wait_until
from labs import Labs
from machine import NAME, emu

from emu.kernel import process
from emu.testbed.facade import Testbed
from tests.kernel import leaks

pytestmark = pytest.mark.root

TOPOLOGY = str(machine.ROOT / "topologies" / NAME)
PROXY = ("127.0.0.1", 3128)
ETH_P_ALL, SO_RCVBUFFORCE = 3, 33
MACHINES_OWN = ("links", "network", "mounts", "cgroups", "bpf", "sysctls")


@machine.on_a_machine
def test_links_addresses_routes_rules_and_sysctls_of_the_machine_stay_as_they_are():
    before = leaks.snapshot(sysctls=True)
    assert any("docker0" in line for line in before.network)
    assert len(before.sysctls) > 500

    def unchanged() -> None:
        during = leaks.snapshot(sysctls=True)
        for field in MACHINES_OWN:
            assert getattr(during, field) == getattr(before, field), field

    emu("up", TOPOLOGY)
    unchanged()
    verifying = machine.emu_started("verify")
    while verifying.wait(0.1) is None:
        unchanged()
    assert verifying.code == 0
    emu("scale", "deployment", "nginx-hello", "--replicas", "4")
    unchanged()
    emu("down")
    leaks.nothing_left(before)


@machine.on_a_machine
def test_two_testbeds_of_the_same_ranges_are_verified_side_by_side():
    before = leaks.snapshot()
    emu("up", TOPOLOGY, "--name", "one")
    emu("up", TOPOLOGY, "--name", "two")
    both = [machine.emu_started("-t", name, "verify") for name in ("one", "two")]
    assert [each.wait(60) for each in both] == [0, 0]

    first_of_two = machine.pid("two")
    plan = emu("-t", "two", "check").stdout
    emu("down", "one")
    assert machine.pid("one") == 0
    assert machine.pid("two") == first_of_two
    assert emu("-t", "two", "check").stdout == plan == "the kernel is as planned\n"
    assert emu("verify").code == 0
    emu("down")
    leaks.nothing_left(before)


@machine.on_a_machine
def test_a_second_testbed_of_a_name_is_refused_and_the_first_goes_on():
    emu("up", TOPOLOGY)
    running = machine.pid()
    refused = emu("up", TOPOLOGY, check=False)
    assert refused.code == 2
    assert f"testbed {NAME}: is already running" in refused.stderr
    assert f"emu down {NAME}" in refused.stderr
    assert machine.pid() == running
    assert emu("check").code == 0


@machine.on_a_machine
def test_of_two_starts_at_once_one_is_refused():
    both = [machine.emu_started("up", TOPOLOGY) for _ in range(2)]
    assert sorted(each.wait(30) for each in both) == [0, 2]
    assert emu("check").code == 0


def test_the_machine_s_own_interfaces_see_no_emulated_packet(testbed: Labs) -> None:
    """Listening on the real machine, and, to know that the ear is good, on a Node of the testbed."""
    with recorded() as heard:

        def inside(lab: Testbed) -> set[str]:
            with recorded(lab) as on_node:
                assert all(each.ok for each in lab.verify())
            assert {each for each in addresses(lab) if each.startswith("10.244.")} & seen(on_node)
            assert "udp/8472" in seen(on_node)
            return addresses(lab)

        emulated = testbed(inside)
    assert not (emulated | {"udp/8472"}) & seen(heard)


@machine.on_a_machine
def test_a_daemon_that_forked_twice_and_refuses_sigterm_is_gone_with_its_pod():
    emu("up", TOPOLOGY)
    daemon = "trap '' TERM HUP; while :; do sleep 987654; done"
    emu("exec", "client", "--", "sh", "-c", f'(setsid sh -c "(setsid sh -c \\"{daemon}\\" &)" &)')
    wait_until(lambda: processes("987654"), what="the daemon runs")
    emu("delete", "pod", "client", "--grace-period", "0")
    wait_until(lambda: not processes("987654"), what="the daemon is gone")
    assert emu("exec", "client2", "--", "true").code == 0
    assert emu("check").code == 0


@machine.on_a_machine
def test_neither_a_proxy_nor_a_name_service_of_the_machine_is_asked_from_a_pod():
    asked = [listening("/run/nscd/socket"), listening("/run/systemd/resolve/io.systemd.Resolve"), listening(PROXY)]
    proxies = dict.fromkeys(("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), f"http://{PROXY[0]}:{PROXY[1]}")
    emu("up", TOPOLOGY, **proxies)

    def pod(*argv: str) -> str:
        return emu("exec", "client", "--", *argv, **proxies).stdout

    address = pod("getent", "hosts", "nginx-svc").split()
    assert address[1] == "nginx-svc.default.svc.cluster.local"
    page = pod("curl", "-sv", "--stderr", "-", "nginx-svc")
    assert f"Connected to nginx-svc ({address[0]}) port 80" in page
    assert "<span>Server&nbsp;address:</span> <span>10.244." in page
    assert pod("getent", "hosts", "client").split()[0].startswith("10.244.1.")
    assert "proxy" not in pod("env").lower()
    assert pod("cat", "/etc/resolv.conf").splitlines()[1] == "nameserver 10.96.0.10"
    for command in (["getent", "hosts", "only-on-the-machine"], ["curl", "-s", "only-on-the-machine"]):
        assert emu("exec", "client", "--", *command, check=False).code in (2, 6)  # not found; could not resolve
    assert "proxy" not in emu("exec", "node/node1", "--", "env", **proxies).stdout.lower()
    for each in asked:
        each.setblocking(False)
        with pytest.raises(BlockingIOError):
            each.accept()


@machine.on_a_machine
def test_nobody_but_its_owner_reaches_a_testbed():
    emu("up", TOPOLOGY)
    folder = machine.RUNTIME / NAME
    assert {each.name: oct(each.stat().st_mode & 0o777) for each in (machine.RUNTIME, folder, *folder.iterdir())} == {
        "kube-emu": "0o700",
        NAME: "0o700",
        **dict.fromkeys(("api.sock", "attach.sock", "lock", "log"), "0o600"),
    }
    for name in ("api.sock", "attach.sock"):
        assert "Permission denied" in connect_as(65533, folder / name)
    for opened in (machine.RUNTIME, folder):  # a door left open by its owner: each socket has a lock of its own
        opened.chmod(0o755)
    for name in ("api.sock", "attach.sock"):
        assert "Permission denied" in connect_as(65533, folder / name)
        assert connect_as(0, folder / name) == ""
    for name in ("ns/net", "root", "fd"):
        assert "ermission denied" in as_user(65533, "ls", "-l", f"/proc/{machine.pid()}/{name}/")


def connect_as(uid: int, path: Path) -> str:
    """How it fails."""
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
    return as_user(uid, "/usr/bin/python3", "-c", script)


def as_user(uid: int, *argv: str) -> str:
    """What it writes to stderr."""
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return process.run([*user, *argv], check=False).stderr


def processes(word: str) -> list[str]:
    """Of the whole machine, with that word in their command lines."""
    return [line for line in leaks.snapshot().processes if word in line]


def listening(where: str | tuple[str, int]) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
    listener.bind(where)
    listener.listen()
    return listener


@contextmanager
def recorded(lab: Testbed | None = None) -> Iterator[list[bytes]]:
    """All frames at all interfaces of the machine's network namespace, or of node1's."""
    opened = lab.host.open_socket("node1") if lab else socket.socket
    frames: list[bytes] = []
    with opened(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(ETH_P_ALL)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        yield frames
        listening.setblocking(False)
        try:
            while True:
                frames.append(listening.recv(128))
        except BlockingIOError:
            pass


def addresses(lab: Testbed) -> set[str]:
    """Everything that has an address in there, clusterIPs and Nodes included."""
    assert lab.plan
    assert lab.cluster
    of_links = {each.address.ip for netns in lab.plan.netns.values() for each in netns.addresses}
    of_services = {each.cluster_ip for each in lab.cluster.frontends}
    return {str(each) for each in of_links | of_services if not each.is_loopback}


def seen(frames: list[bytes]) -> set[str]:
    """IPv4 addresses, and `udp/PORT` of destinations."""
    found = set()
    for frame in frames:
        if frame[12:14] == b"\x08\x00":
            packet = frame[14:]
            found |= {socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])}
            if packet[9] == socket.IPPROTO_UDP:
                udp = packet[(packet[0] & 15) * 4 :]
                found.add(f"udp/{int.from_bytes(udp[2:4], 'big')}")
        elif frame[12:14] == b"\x08\x06":
            found |= {socket.inet_ntoa(frame[28:32]), socket.inet_ntoa(frame[38:42])}
    return found
