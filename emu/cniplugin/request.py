"""What a runtime asks of the plugin: environment and configuration, checked. Pure.

Source: containernetworking/cni SPEC.md 1.1.0, "Section 2: Execution Protocol"."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emu.api.conflist import VERSIONS
from emu.api.wrong import did_you_mean, shown
from emu.cniplugin.modes import MODES
from emu.names import POD_ETH

INCOMPATIBLE, UNSUPPORTED, BAD_ENVIRONMENT, IO_FAILURE, NOT_DECODED, BAD_CONFIG = 1, 2, 4, 5, 6, 7
OWN = frozenset({"mode", "mtu", "podNetworks", "ipam"})
#: What every configuration has, and what runtimes add to it.
COMMON = frozenset(
    {"cniVersion", "name", "type", "args", "dns", "runtimeConfig", "prevResult", "cni.dev/valid-attachments"}
)
ATTACHED = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "ADD": ATTACHED,
    "CHECK": ATTACHED,
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    "GC": ("CNI_PATH",),
    "STATUS": (),
}


class Refused(Exception):
    """Becomes the error that the plugin answers with."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.details = code, message, details


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    command: str
    version: str
    network: str
    mode: str
    ipam: Mapping[str, Any]
    config: Mapping[str, Any]  # all of it, as it goes on to the IPAM plugin
    container_id: str = ""
    netns: str = ""
    ifname: str = POD_ETH
    paths: tuple[str, ...] = ()
    mtu: int = 1500
    pod_networks: tuple[str, ...] = ()
    args: Mapping[str, str] = field(default_factory=dict)


def version_of(text: str) -> str:
    """Of a configuration that may be wrong otherwise: an error is answered in it."""
    try:
        found = json.loads(text).get("cniVersion")
    except (ValueError, AttributeError):
        return VERSIONS[-1]
    return found if found in VERSIONS else VERSIONS[-1]


def parse(environment: Mapping[str, str], text: str) -> Request:
    """Raises Refused."""
    command = environment.get("CNI_COMMAND", "")
    if command not in REQUIRED:
        known = ", ".join((*REQUIRED, "VERSION"))
        raise Refused(BAD_ENVIRONMENT, f"CNI_COMMAND is {shown(command)}, must be one of {known}")
    if missing := [name for name in REQUIRED[command] if not environment.get(name)]:
        raise Refused(BAD_ENVIRONMENT, f"{command} needs {', '.join(missing)}")
    ifname = environment.get("CNI_IFNAME", POD_ETH)
    if ifname != POD_ETH:
        raise Refused(BAD_ENVIRONMENT, f"CNI_IFNAME is {ifname}, must be {POD_ETH}: the built-in modes know no other")
    config = _config(text)
    return Request(
        command=command,
        version=config["cniVersion"],
        network=config["name"],
        mode=config["mode"],
        ipam=config["ipam"],
        config=config,
        container_id=environment.get("CNI_CONTAINERID", ""),
        netns=environment.get("CNI_NETNS", ""),
        paths=tuple(filter(None, environment.get("CNI_PATH", "").split(":"))),
        mtu=config.get("mtu", 1500),
        pod_networks=tuple(config.get("podNetworks", ())),
        args=dict(part.split("=", 1) for part in environment.get("CNI_ARGS", "").split(";") if "=" in part),
    )


def _config(text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise Refused(NOT_DECODED, "the configuration on stdin is not JSON", str(error)) from None
    if not isinstance(config, dict):
        raise Refused(NOT_DECODED, "the configuration on stdin is no JSON object")
    if (asked := config.get("cniVersion")) not in VERSIONS:
        raise Refused(INCOMPATIBLE, f"cniVersion is {shown(asked)}, must be one of {', '.join(VERSIONS)}")
    for key in config:
        if key not in OWN and key not in COMMON:
            near = did_you_mean(key, OWN) or f"known: {', '.join(sorted(OWN))}"
            raise Refused(UNSUPPORTED, f"{key} is no field of kube-emu-cni", near)
    _own(config)
    return config


def _own(config: Mapping[str, Any]) -> None:
    if not isinstance(config.get("name"), str) or not config["name"]:
        raise Refused(BAD_CONFIG, "name is missing")
    modes = ", ".join(MODES)
    if config.get("mode") not in MODES:
        raise Refused(BAD_CONFIG, f"mode is {shown(config.get('mode'))}, must be one of {modes}")
    ipam = config.get("ipam")
    if not isinstance(ipam, Mapping) or not isinstance(ipam.get("type"), str) or "/" in ipam["type"]:
        raise Refused(BAD_CONFIG, "ipam.type is missing: the plugin that gives addresses, as host-local")
    mtu = config.get("mtu", 1500)
    if not isinstance(mtu, int) or isinstance(mtu, bool) or not 68 <= mtu <= 65535:
        raise Refused(BAD_CONFIG, f"mtu is {shown(mtu)}, must be 68-65535")
    networks = config.get("podNetworks", [])
    if not isinstance(networks, list) or not all(isinstance(each, str) for each in networks):
        raise Refused(BAD_CONFIG, f"podNetworks is {shown(networks)}, must be a list of ranges")
