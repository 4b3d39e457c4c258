"""What this machine can do, tried out in a throw-away lab: the lines of `emu doctor`."""

from __future__ import annotations

import gzip
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from emu.errors import EmuError, KernelError
from emu.kernel import limits, netns, pods, process, sandbox, userns
from emu.kernel.trials import MODULES, TOOLS, TRIALS, Module, Trial
from emu.plan.model import PodSandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """`needed`: without it no cluster comes up. `remedy` says what to do when `ok` is false."""

    name: str
    needed: bool
    ok: bool
    detail: str = ""
    remedy: str = ""


def probe() -> tuple[Feature, ...]:
    """Half a second. Nothing of the machine is changed; the kernel may load a module it has for what is tried."""
    return (_python(), *_tools(), *_in_a_lab(), *modules(), *_limits())


def _python() -> Feature:
    ok = sys.version_info >= (3, 11)
    remedy = "" if ok else "run it with a newer Python"
    return Feature(name="Python 3.11 or later", needed=True, ok=ok, detail=platform.python_version(), remedy=remedy)


def _tools() -> Iterator[Feature]:
    for tool in TOOLS:
        found = shutil.which(tool.name, path=process.PATH)
        remedy = "" if found else f"apt-get install {tool.package}"
        detail = found or f"not found: {tool.purpose}"
        yield Feature(name=tool.name, needed=tool.needed, ok=bool(found), detail=detail, remedy=remedy)


def _in_a_lab() -> Iterator[Feature]:
    name = "namespaces of an ordinary user" if userns.needed() else "namespaces"
    with (
        tempfile.TemporaryDirectory(prefix="emu-doctor-") as directory,
        os.fdopen(os.memfd_create("found"), "w+b") as found,
    ):
        try:
            sandbox.launch("doctor", Path(directory), lambda lab: _try_all(lab, found))
        except EmuError as error:
            yield Feature(name=name, needed=True, ok=False, detail=error.message, remedy=error.hint)
            return
        yield Feature(name=name, needed=True, ok=True, detail="mount, PID, network, UTS, IPC")
        found.seek(0)
        yield from (Feature(**each) for each in json.load(found))


def _try_all(lab: sandbox.Sandbox, found: BinaryIO) -> None:
    """Runs in the lab, and ends with it."""
    makers = pods.PodNamespaces()
    process.Reaper()
    features = [_pod(makers), *(tried(trial) for trial in TRIALS)]
    found.write(json.dumps([asdict(feature) for feature in features]).encode())
    found.flush()
    lab.ready()


def _pod(makers: pods.PodNamespaces) -> Feature:
    name, needed = "Pods that run programs", True
    pod = PodSandbox(
        namespace="doctor", name="pod", uid="", node="", hostname="pod", addresses=(), files=(), processes=()
    )
    try:
        handle = makers.ensure(netns.create("pod"), pod)
        code = makers.spawn(handle, ["true"], process.ENVIRONMENT).wait(10)
    except (EmuError, OSError) as error:
        return Feature(name=name, needed=needed, ok=False, detail=str(error), remedy="Linux 5.12 or later")
    return Feature(name=name, needed=needed, ok=code == 0, detail="mount_setattr, tmpfs, proc", remedy="")


def tried(trial: Trial) -> Feature:
    try:
        detail = trial.run()
    except (EmuError, OSError) as error:
        said = error.message if isinstance(error, KernelError) else str(error)
        return Feature(name=trial.name, needed=trial.needed, ok=False, detail=said, remedy=trial.remedy)
    return Feature(name=trial.name, needed=trial.needed, ok=True, detail=detail)


def modules() -> Iterator[Feature]:
    """Looked up, not tried: trying would load them, and some (ipip) show in every namespace of the machine."""
    release = platform.release()
    listed = _text(Path("/lib/modules", release, "modules.dep")) + _text(
        Path("/lib/modules", release, "modules.builtin")
    )
    config = _text(Path("/proc/config.gz")) or _text(Path(f"/boot/config-{release}"))
    for module in MODULES:
        detail = _presence(module, listed, config)
        remedy = "" if detail else f"a kernel with CONFIG_{module.option}"
        detail = detail or f"this kernel has not: {module.purpose}"
        yield Feature(name=f"module {module.name}", needed=False, ok=not remedy, detail=detail, remedy=remedy)


def _limits() -> Iterator[Feature]:
    """A cluster that needs more is refused, with the number, before anything of it is made."""
    for limit in limits.read():
        used = f", {limit.used} in use" if limit.used else ""
        detail = f"{limit.granted}{used} ({limit.setting})"
        yield Feature(name=f"limit {limit.name}", needed=False, ok=True, detail=detail)


def _presence(module: Module, listed: str, config: str) -> str:
    if Path("/sys/module", module.name).exists() or f"CONFIG_{module.option}=y" in config:
        return "loaded or built in"
    return "can be loaded" if f"/{module.name}.ko" in listed else ""


def _text(path: Path) -> str:
    """Empty if it is not there."""
    try:
        raw = path.read_bytes()
    except OSError:
        return ""
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode(errors="replace")
