"""Files for the containers' output: `DIR/namespace_pod_uid/container/RESTARTS.log`, as below /var/log/pods."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from emu.errors import InputError
from emu.plan.model import PodSandbox

KEPT = 2  # the current run's and the one before


class Logs:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, pod: PodSandbox, container: str, restarts: int) -> Path:
        return Path(self._of(pod), container, _name(restarts))

    def open(self, pod: PodSandbox, container: str, restarts: int) -> int:
        """A descriptor to append to; it is the caller's."""
        if restarts >= KEPT:
            self.path(pod, container, restarts - KEPT).unlink(missing_ok=True)
        directory = os.path.join(self._of(pod), container)
        os.makedirs(directory, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(os.path.join(directory, _name(restarts)), flags, 0o600)

    def find(self, pod: PodSandbox, container: str, restarts: int, *, previous: bool) -> Path:
        """The log of the current run or the one before. Raises InputError in kubectl's words."""
        path = self.path(pod, container, restarts - 1 if previous else restarts)
        if not path.exists():
            what = "previous terminated container" if previous else "container"
            raise InputError(f'{what} "{container}" in pod "{pod.name}" not found')
        return path

    def remove(self, pod: PodSandbox) -> None:
        shutil.rmtree(self._of(pod), ignore_errors=True)

    def _of(self, pod: PodSandbox) -> str:
        return os.path.join(self._directory, f"{pod.namespace}_{pod.name}_{pod.uid}")


def _name(restarts: int) -> str:
    return f"{restarts}.log"
