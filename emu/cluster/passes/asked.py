"""The annotation `kube-emu.io/ip`: a Pod asks for its address, or for one of each family (`10.244.1.11,fd00::11`)."""

from __future__ import annotations

from ipaddress import ip_address

from emu.api.objects import Pod
from emu.cluster.model import IPAddress
from emu.cluster.objectmap import subject
from emu.errors import InputError

ANNOTATION = "kube-emu.io/ip"


def asked_addresses(pod: Pod) -> tuple[IPAddress, ...]:
    text = pod.metadata.annotations.get(ANNOTATION, "")
    if not text:
        return ()
    try:
        return tuple(ip_address(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"annotation {ANNOTATION}: {error}", subject=subject(pod)) from None
