"""A router's ports in a cloud's subnet: the MAC that ARP is answered with there, and those of frames that pass."""

from __future__ import annotations

from ipaddress import ip_network

from emu.addressing import IPAddress, IPNetwork
from emu.plan.model import NetnsPlan
from emu.plan.subnet import MARK, Subnet, SubnetAddress, SubnetPort
from emu.trace.packet import Packet


class Subnets:
    """Those of one netns."""

    def __init__(self, plan: NetnsPlan) -> None:
        self._of_port = {each.dev: each.network for each in plan.subnets if isinstance(each, SubnetPort)}
        self._routers = {each.network: each.router for each in plan.subnets if isinstance(each, Subnet)}
        self._macs: dict[IPNetwork, dict[IPNetwork, str]] = {}
        for each in plan.subnets:
            if isinstance(each, SubnetAddress):
                self._macs.setdefault(each.network, {})[each.address] = each.mac

    def answer(self, dev: str, address: IPAddress, own: str) -> str | None:
        """What its answer for this address carries, if it leaves; `own`: the device's MAC."""
        network = self._of_port.get(dev)
        if network is None or address == self._routers.get(network):
            return own
        return self._mac(network, address)

    def take(self, dev: str, packet: Packet) -> bool:
        """A frame that comes in by `dev` for another interface of the subnet is marked. False when it is none."""
        network = self._of_port.get(dev)
        if network is None or self._mac(network, packet.headers.dst) != packet.dst_mac:
            return False
        packet.mark = MARK
        return True

    def leaves(self, dev: str, packet: Packet) -> None:
        """One of those gets its sender's MAC again."""
        network = self._of_port.get(dev)
        if network is not None and packet.mark == MARK:
            packet.src_mac = self._mac(network, packet.headers.src) or packet.src_mac

    def _mac(self, network: IPNetwork, address: IPAddress) -> str | None:
        macs = self._macs.get(network, {})
        lengths = sorted({each.prefixlen for each in macs}, reverse=True)
        keys = (ip_network((address, length), strict=False) for length in lengths)
        return next((macs[key] for key in keys if key in macs), None)
