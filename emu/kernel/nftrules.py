"""The rules of nf_tables as the kernel lists them (NFT_MSG_GETRULE): of each its attributes, by number."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from emu.kernel.netlink import NETLINK_NETFILTER, Connection, attr_text, attributes
from emu.kernel.netns import Netns, socket_in

# linux/netfilter/nfnetlink.h and nf_tables.h
NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
TABLE, CHAIN, HANDLE, EXPRESSIONS, COMPAT, USERDATA = 1, 2, 3, 4, 5, 7  # NFTA_RULE_*
HEAD = struct.Struct(">BBH")  # nfgenmsg: family, version, what a batch is for
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_GETRULE = NFTABLES << 8 | 7


def connected(netns: Netns) -> Connection:
    return Connection(socket_in(netns, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER))


def place(table: str, chain: str) -> bytes:
    """The attributes that name a chain in rules."""
    return attr_text(TABLE, table) + attr_text(CHAIN, chain)


def listed(connection: Connection, family: int, asked: bytes) -> Iterator[dict[int, bytes]]:
    """Of what the attributes `asked` name, and of more where a kernel does not look at them. Raises OSError."""
    for body in connection.dump(_GETRULE, HEAD.pack(FAMILIES[family], 0, 0) + asked):
        yield attributes(body[HEAD.size :])
