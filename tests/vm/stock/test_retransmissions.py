"""Bulk TCP through tunl0 by both who realise it: neither loses more on the way than the other."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable

import ipip_lab
import pytest
from ipip_lab import MTU
from stock import alone, module

from emu.kernel import process
from emu.kernel.apply import Kernel
from emu.kernel.netns import socket_in
from emu.plan.diff import diff
from emu.plan.model import IpipBy

pytestmark = [pytest.mark.root, alone]
Sandbox = Callable[[Callable[[], object]], object]
STREAMS, BYTES = 3, 48 << 20
FEW = STREAMS * BYTES // (MTU - 40) // 5000  # segments: what the scheduling of one kernel in user space may cost
_TOTAL_RETRANS = 100  # where tcpi_total_retrans lies in struct tcp_info, linux/tcp.h
_PIECE = bytes(1 << 20)


def test_both_implementations_send_about_as_many_segments_again(sandbox: Sandbox) -> None:
    by_ebpf, by_module = told(sandbox, IpipBy.EBPF), told(sandbox, IpipBy.MODULE)
    assert sum(by_ebpf) <= max(2 * sum(by_module), FEW), (by_ebpf, by_module)
    assert sum(by_module) <= max(2 * sum(by_ebpf), FEW), (by_ebpf, by_module)


def test_what_is_lost_on_the_way_is_counted(sandbox: Sandbox) -> None:
    """Or the test above could not fail."""
    assert told(sandbox, IpipBy.EBPF, loss="1%", streams=1)[0] > FEW


def told(sandbox: Sandbox, by: IpipBy, loss: str = "", streams: int = STREAMS) -> list[int]:
    def run() -> list[int]:
        kernel, plan = Kernel("lab"), ipip_lab.plan(by)
        kernel.apply(diff(None, plan), plan)
        if loss:
            process.run(["tc", "qdisc", "add", "dev", "eth0", "root", "netem", "loss", loss], ns=kernel.netns("node1"))
        return [retransmissions(kernel) for _ in range(streams)]

    with module(loaded=by is IpipBy.MODULE):
        return sandbox(run)  # type: ignore[return-value]


def retransmissions(kernel: Kernel) -> int:
    """Of one stream from Pod to Pod, all of which has arrived."""
    with (
        socket_in(kernel.netns("default.p2"), socket.AF_INET, socket.SOCK_STREAM) as server,
        socket_in(kernel.netns("default.p1"), socket.AF_INET, socket.SOCK_STREAM) as client,
    ):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("10.244.2.1", 5001))
        server.listen()
        client.settimeout(60)
        client.connect(("10.244.2.1", 5001))
        peer, _ = server.accept()
        sending = threading.Thread(target=lambda: [client.sendall(_PIECE) for _ in range(BYTES // len(_PIECE))])
        sending.start()
        with peer:
            peer.settimeout(60)
            left, buffer = BYTES, bytearray(len(_PIECE))
            while left:
                left -= peer.recv_into(buffer)
        sending.join()
        info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return int(struct.unpack_from("=I", info, _TOTAL_RETRANS)[0])
