"""A link sends nothing before the kernel has noticed that its other end is up, and its bridge lets nothing through.

A work queue notices: within a millisecond on an idle machine, later on a busy one, and the first packet is lost, an
ARP request most often, which is repeated after a whole second. Who asks for a link's state has it noticed at once
(`linkwatch_sync_dev` of the kernel).
"""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

from emu.plan.model import Link

_SIOCETHTOOL = 0x8946
_ETHTOOL_GLINK = 0x0000000A


def settle(sock: socket.socket, links: Iterable[Link]) -> None:
    """Of the namespace of the socket, whatever its kind. A bridge is up when one of its ports is: bridges last."""
    answer = (ctypes.c_uint32 * 2)(_ETHTOOL_GLINK)
    for link in sorted(links, key=lambda link: link.kind == "bridge"):
        if link.up:
            with suppress(OSError):  # one without such a state
                fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", link.name.encode(), ctypes.addressof(answer)))
