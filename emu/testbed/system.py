"""What Nodes say they run on: the one machine that all of them are."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from emu.api.objects import NodeSystemInfo

#: Linux' names → Go's, which Kubernetes uses.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def system() -> NodeSystemInfo:
    name = os.uname()
    return NodeSystemInfo(
        kernel_version=name.release,
        os_image=_os_image(),
        architecture=ARCHITECTURES.get(name.machine, name.machine),
        container_runtime_version=f"kube-emu://{_version()}",
    )


def _os_image() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"


def _version() -> str:
    try:
        return metadata.version("kube-emu")
    except metadata.PackageNotFoundError:
        return "source"
