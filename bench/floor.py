"""The floor: netns + veth + bridge port + address + routes for each Pod by nothing but system calls and packed bytes,
beside `Kernel.apply` of the same objects. Run as root: `python -m bench.floor [NODES PODS]`.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

from bench import sandboxed
from emu.kernel import syscalls
from emu.kernel.apply import Kernel
from emu.plan import diff
from emu.plan.model import Address, Link, NetnsKind, NetnsPlan, Plan, Role, Route, Sysctl

PODS_MTU = 1450
_QUIET = tuple(Sysctl(key=f"net.ipv6.conf.{name}.disable_ipv6", value="1") for name in ("all", "default"))


def main() -> None:
    nodes, pods = (int(sys.argv[1]), int(sys.argv[2])) if len(sys.argv) > 2 else (20, 50)
    floor_s = min(sandboxed.call(lambda: floor(nodes, pods)) for _ in range(3))
    apply_s = min(sandboxed.call(lambda: applied(plan(nodes, pods))) for _ in range(3))
    with_sysctls_s = min(sandboxed.call(lambda: applied(with_sysctls(plan(nodes, pods)))) for _ in range(3))
    total = nodes * pods
    for what, seconds in (
        ("floor, one thread", floor_s),
        ("Kernel.apply, same objects", apply_s),
        ("Kernel.apply, with IPv6 off per netns", with_sysctls_s),
    ):
        print(f"{what:40} {seconds:6.2f} s  {seconds / total * 1e3:5.2f} ms/Pod  {seconds / floor_s:5.2f} x floor")


def floor(nodes: int, pods: int) -> float:
    """Per Pod: unshare, bind mount, and two sends: the veth with its other end, master, hairpin; lo, eth0 up, address
    and two routes. Bytes are packed beforehand where they do not depend on a descriptor."""
    os.makedirs("/run/netns")
    start = time.perf_counter()
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    for n in range(1, nodes + 1):
        node = _netns(f"node{n}")
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        send(sock, _bridge(2))
        for p in range(pods):
            pod, inner = _pod_netns(f"pod{n}-{p}")
            send(sock, _veth(n, p, pod))
            send(inner, _inside(n, p))
            inner.close()
        sock.close()
        os.close(node)
        syscalls.setns(home)
    return time.perf_counter() - start


def applied(wanted: Plan) -> float:
    changes = diff.diff(None, wanted)
    start = time.perf_counter()
    Kernel("bench").apply(changes, wanted)
    return time.perf_counter() - start


def _netns(name: str) -> int:
    syscalls.unshare(syscalls.CLONE_NEWNET)
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    path = f"/run/netns/{name}"
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY))
    syscalls.mount("/proc/thread-self/ns/net", path, flags=syscalls.MS_BIND)
    return fd


def _pod_netns(name: str) -> tuple[int, socket.socket]:
    fd = _netns(name)
    return fd, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)


def send(sock: socket.socket, messages: list[tuple[int, int, bytes]]) -> None:
    parts = []
    for i, (kind, flags, body) in enumerate(messages, 1):
        flags |= 5 if i == len(messages) else 1
        parts.append(struct.pack("=IHHII", len(body) + 16, kind, flags, i, 0) + body)
    sock.send(b"".join(parts))
    answer = sock.recv(65536)
    error = struct.unpack_from("=i", answer, 16)[0]
    if error:
        raise OSError(-error, os.strerror(-error))


def _attr(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + payload + bytes(-len(payload) % 4)


def _link(index: int, flags: int, name: str, mac: bytes, mtu: int) -> bytes:
    head = struct.pack("=BxHiII", 0, 0, index, flags, 1)
    return head + _attr(3, name.encode() + b"\0") + _attr(1, mac) + _attr(4, struct.pack("=I", mtu))


def _bridge(index: int) -> list[tuple[int, int, bytes]]:
    return [(16, 0x600, _link(index, 1, "cni0", b"\2\0\0\0\0\1", PODS_MTU) + _attr(18, _attr(1, b"bridge")))]


def _veth(n: int, p: int, pod: int) -> list[tuple[int, int, bytes]]:
    index = 3 + p
    peer = _link(2, 0, "eth0", bytes((2, 1, 0, n, p, 0)), PODS_MTU) + _attr(28, struct.pack("=I", pod))
    veth = _attr(18, _attr(1, b"veth") + _attr(2, _attr(1, peer))) + _attr(10, struct.pack("=I", 2))
    outer = _link(index, 1, f"veth{n:04x}{p:04x}", bytes((2, 2, 0, n, p, 0)), PODS_MTU) + veth
    hairpin = struct.pack("=BxHiII", 0, 0, index, 0, 0) + _attr(18, _attr(4, b"bridge") + _attr(5, _attr(4, b"\1")))
    return [(16, 0x600, outer), (16, 0, hairpin)]


def _inside(n: int, p: int) -> list[tuple[int, int, bytes]]:
    address, gateway, pods = (bytes((10, 244, *last)) for last in ((n, p + 2), (n, 1), (0, 0)))
    up = [(16, 0, struct.pack("=BxHiII", 0, 0, index, 1, 1)) for index in (1, 2)]
    brd = bytes((10, 244, n, 255))
    body = struct.pack("=BBBBi", 2, 24, 0, 0, 2) + _attr(2, address) + _attr(1, address) + _attr(4, brd)
    tail = _attr(5, gateway) + _attr(4, struct.pack("=I", 2))
    default = struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0) + tail
    cluster = struct.pack("=BBBBBBBBI", 2, 16, 0, 0, 254, 3, 0, 1, 0) + _attr(1, pods) + tail
    return [*up, (20, 0x600, body), (24, 0x600, default), (24, 0x600, cluster)]


def plan(nodes: int, pods: int) -> Plan:
    """The same objects as plan values."""
    spaces = [_node(n, pods) for n in range(1, nodes + 1)]
    spaces += [_pod(n, p) for n in range(1, nodes + 1) for p in range(pods)]
    return Plan(name="bench", seed=0, netns={space.name: space for space in spaces})


def with_sysctls(wanted: Plan) -> Plan:
    return replace(wanted, netns={name: replace(space, sysctls=_QUIET) for name, space in wanted.netns.items()})


def _node(n: int, pods: int) -> NetnsPlan:
    name = f"node{n}"
    cni0 = Link(name="cni0", kind="bridge", role=Role.BRIDGE, owner=name, mtu=PODS_MTU, mac="02:00:00:00:00:01")
    ports = tuple(_port(n, p) for p in range(pods))
    return NetnsPlan(name=name, kind=NetnsKind.NODE, owner=name, links=(cni0, *ports))


def _port(n: int, p: int) -> Link:
    return Link(
        name=f"veth{n:04x}{p:04x}",
        kind="veth",
        role=Role.HOST_VETH,
        owner=f"default/pod{n}-{p}",
        mtu=PODS_MTU,
        mac=f"02:02:00:{n:02x}:{p:02x}:00",
        master="cni0",
        hairpin=True,
        peer=(f"pod{n}-{p}", "eth0"),
    )


def _pod(n: int, p: int) -> NetnsPlan:
    owner = f"default/pod{n}-{p}"
    peer = (f"node{n}", f"veth{n:04x}{p:04x}")
    mac = f"02:01:00:{n:02x}:{p:02x}:00"
    eth0 = Link(name="eth0", kind="veth", role=Role.POD_ETH, owner=owner, mtu=PODS_MTU, mac=mac, peer=peer)
    via = ip_address(f"10.244.{n}.1")
    routes = tuple(Route(dst=ip_network(dst), via=via, dev="eth0") for dst in ("0.0.0.0/0", "10.244.0.0/16"))
    address = Address(dev="eth0", address=ip_interface(f"10.244.{n}.{p + 2}/24"))
    return NetnsPlan(
        name=f"pod{n}-{p}", kind=NetnsKind.POD, owner=owner, links=(eth0,), addresses=(address,), routes=routes
    )


if __name__ == "__main__":
    main()
