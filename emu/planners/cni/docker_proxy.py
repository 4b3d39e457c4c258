"""The userland proxy's processes of a host, one for each published port, as dockerd starts them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import emu
from emu.plan.model import Daemon, File, Sign
from emu.planners.cni.docker_rules import Container, Published

NAME = "docker-proxy"
_PROGRAM = "/run/docker/docker-proxy"


def daemons(containers: tuple[Container, ...]) -> tuple[Daemon, ...]:
    """SCTP has none here; Docker's relays it too."""
    every = ((each, port) for each in containers for port in each.published)
    return tuple(_daemon(each.address, port) for each, port in every if port.protocol in ("tcp", "udp"))


def _daemon(address: str, port: Published) -> Daemon:
    front = ("-proto", port.protocol, "-host-ip", "0.0.0.0", "-host-port", str(port.host_port))
    back = ("-container-ip", address, "-container-port", str(port.port))
    return Daemon(
        name=f"{NAME}-{port.protocol}-{port.host_port}",
        argv=("python3", "-I", _PROGRAM, *front, *back),
        package="python3",
        files=(_program(),),
        status=("ss", "-Hln", f"--{port.protocol}"),
        signs=(
            Sign(what=f"{NAME} on {port.protocol} port {port.host_port}", pattern=rf"0\.0\.0\.0:{port.host_port}\s"),
        ),
        listens=((port.protocol, port.host_port),),
    )


@cache
def _program() -> File:
    (folder,) = emu.__path__
    return File(path=_PROGRAM, text=Path(folder, "workloads", "dockerproxy.py").read_text(encoding="utf-8"))
