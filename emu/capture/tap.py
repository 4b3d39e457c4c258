"""One capture point's packet socket: bound, set up and read.

Not promiscuous, on purpose. A veth hands every frame to packet sockets, whoever it is for, so that promiscuity adds
nothing on Pods' links, uplinks and switch ports; and on a bridge device it would change what is there to see: frames
that are only switched between two ports never pass the device, and in promiscuous mode they appear to."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

from emu.capture.frame import ETHERNET, GSO, PARTIAL_CHECKSUM, RAW, Frame
from emu.trace.model import CapturePoint, Direction

# include/uapi/linux: if_packet.h, if_ether.h, if_arp.h, sockios.h, asm-generic/socket.h
ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_STATISTICS, PACKET_AUXDATA = 6, 8
PACKET_OUTGOING, PACKET_LOOPBACK = 4, 5
SO_RCVBUFFORCE = 33
SO_TIMESTAMPNS = 64  # the variant with 64-bit seconds
ARPHRD_ETHER, ARPHRD_LOOPBACK = 1, 772
SIOCGIFMTU = 0x8921

STATUS_CHECKSUM_NOT_READY, STATUS_VLAN, STATUS_VLAN_TPID, STATUS_GSO = 1 << 3, 1 << 4, 1 << 6, 1 << 8

QUEUE = 32 << 20  # bytes of kernel memory a point may use while nobody reads; none until then
LONGEST = 1 << 18  # a GSO frame is up to 64 KB, with "BIG TCP" more
_TIME = struct.Struct("=qq")
_AUX = struct.Struct("=IIIHHHH")
_ANCILLARY = socket.CMSG_SPACE(_TIME.size) + socket.CMSG_SPACE(_AUX.size)


class Tap:
    """`sock` is a packet socket made in the point's netns with protocol 0, so that it hears nothing until it is bound
    to its interface; owned from here on. `buffer` is shared by the taps one thread reads."""

    def __init__(self, point: CapturePoint, sock: socket.socket, buffer: bytearray) -> None:
        self.point, self.sock = point, sock
        self._buffer, self._view = buffer, memoryview(buffer)
        self.gone = False  # the interface was deleted: a socket left open would keep the netns of a deleted Pod
        self._drops = 0
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, QUEUE)
        except PermissionError:  # an ordinary user: as much as the machine grants
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE)
        sock.setblocking(False)
        try:
            sock.bind((point.ifname, ETH_P_ALL))
        except OSError:
            sock.close()
            raise
        hardware = sock.getsockname()[3]
        self.linktype = ETHERNET if hardware in (ARPHRD_ETHER, ARPHRD_LOOPBACK) else RAW
        self._longest = _mtu(sock, point.ifname) + (18 if self.linktype == ETHERNET else 0)

    def frames(self, until_ns: int) -> Iterator[Frame]:
        """What is queued, up to that time."""
        while True:
            try:
                size, ancillary, _, address = self.sock.recvmsg_into((self._buffer,), _ANCILLARY, socket.MSG_TRUNC)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENETDOWN:  # told once, when the interface goes down
                    raise
                self.gone = not self.is_live
                continue
            if address[2] == PACKET_LOOPBACK:
                continue
            frame = self._frame(size, ancillary, address[2])
            yield frame
            if frame.time_ns > until_ns:
                return

    def _frame(self, size: int, ancillary: list[tuple[int, int, bytes]], kind: int) -> Frame:
        data, time_ns = bytes(self._view[:size]), 0
        flags: tuple[str, ...] = ()
        for level, type_, raw in ancillary:
            if level == socket.SOL_SOCKET and type_ == SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIME.unpack(raw)
                time_ns = seconds * 1_000_000_000 + nanoseconds
            elif level == SOL_PACKET and type_ == PACKET_AUXDATA:
                status, _, _, _, _, tci, tpid = _AUX.unpack(raw)
                flags = self._flags(status, size)
                if status & STATUS_VLAN:  # the kernel keeps the tag beside the frame
                    tag = struct.pack("!HH", tpid if status & STATUS_VLAN_TPID else 0x8100, tci)
                    data, size = data[:12] + tag + data[12:], size + 4
        direction = Direction.OUT if kind == PACKET_OUTGOING else Direction.IN
        return Frame(self.point, time_ns or time.time_ns(), direction, data, size, flags, self.linktype)

    def _flags(self, status: int, size: int) -> tuple[str, ...]:
        partial = (PARTIAL_CHECKSUM,) if status & STATUS_CHECKSUM_NOT_READY else ()
        return (*partial, GSO) if status & STATUS_GSO or size > self._longest else partial

    @property
    def is_live(self) -> bool:
        """Whether the interface is there still, up or down."""
        return self.sock.fileno() >= 0 and bool(self.sock.getsockname()[0])

    @property
    def drops(self) -> int:
        """Frames the queue had no room for, since the start. Reading them sets the kernel's counter to 0."""
        if self.sock.fileno() >= 0:
            self._drops += struct.unpack("=II", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
        return self._drops

    def close(self) -> None:
        with suppress(OSError):
            self._drops = self.drops
        self.sock.close()


def _mtu(sock: socket.socket, ifname: str) -> int:
    request = struct.pack("=16sI12x", ifname.encode(), 0)
    return int(struct.unpack("=16sI12x", fcntl.ioctl(sock.fileno(), SIOCGIFMTU, request))[1])
