"""A TUN device that stands for a tunnel of the kernel: packets come and go by eBPF, nobody reads it.

It lives as long as its descriptor, and holds the namespace it was made in as long. Source: linux/if_tun.h."""

from __future__ import annotations

import fcntl
import os
import struct

from emu.errors import HostError, MissingFeature, NotPermitted

DEVICE = "/dev/net/tun"
_TUNSETIFF, _TUNSETLINK, _TUNSETIFINDEX, _TUNSETFILTEREBPF = 0x400454CA, 0x400454CD, 0x400454DA, 0x800454E1
_TUNSETOFFLOAD = 0x400454D0
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
#: TUN_F_CSUM, TSO4, TSO6, TSO_ECN: a packet of up to 64 KB comes to the device whole, as to the real tunl0. By default
#: the kernel cuts it into segments and adds each up, for a reader who could not.
_WHOLE = 0x01 | 0x02 | 0x04 | 0x08
ARPHRD_TUNNEL = 768  # what ipip devices are: `link/ipip`, and packets without a MAC header in captures


def create(name: str, index: int) -> int:
    """In the namespace the calling thread is in; returns the descriptor. The device is down. Raises HostError."""
    try:
        fd = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError as error:
        raise NotPermitted(f"{DEVICE} is not ours to open") from error
    except OSError as error:
        raise MissingFeature("TUN devices", module="tun") from error
    try:
        fcntl.ioctl(fd, _TUNSETIFINDEX, struct.pack("=I", index))
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("=16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        fcntl.ioctl(fd, _TUNSETLINK, ARPHRD_TUNNEL)
        fcntl.ioctl(fd, _TUNSETOFFLOAD, _WHOLE)
    except OSError as error:
        os.close(fd)
        raise HostError(f"ip tuntap add {name} mode tun: {error.strerror}") from error
    return fd


def drop_all(fd: int, program: int) -> None:
    """A socket filter that says for each packet how much of it to queue for the reader."""
    fcntl.ioctl(fd, _TUNSETFILTEREBPF, struct.pack("=I", program))
