"""Kernel tests run in namespaces of their own: a forked child enters new ones, runs the function, sends the outcome."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from typing import TypeVar

import pytest

from emu.kernel import syscalls

T = TypeVar("T")
NAMESPACES = syscalls.CLONE_NEWNET | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC


def run_in_sandbox(function: Callable[[], T]) -> T:
    """`function` in a child with its own network, mounts (a tmpfs on /run), UTS and IPC. What it returns or raises
    comes back; a failed assertion comes back with its text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(function, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        raw = stream.read()
    os.waitpid(pid, 0)
    assert raw, "the sandboxed test died without a word"
    ok, outcome = pickle.loads(raw)
    if not ok:
        raise outcome
    return outcome


def _child(function: Callable[[], object], writer: int) -> None:
    try:
        syscalls.unshare(NAMESPACES)
        syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount("tmpfs", "/run", "tmpfs")
        result = pickle.dumps((True, function()))
    except BaseException as error:
        result = _pickled(error)
    with os.fdopen(writer, "wb") as stream:
        stream.write(result)
    os._exit(0)


def _pickled(error: BaseException) -> bytes:
    text = "".join(traceback.format_exception(error))
    return pickle.dumps((False, AssertionError(f"in the sandbox:\n{text}")))


@pytest.fixture
def sandbox() -> Callable[[Callable[[], object]], object]:
    """`sandbox(function)`: run it inside, get its result. Closures are fine: the child is a fork."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    return run_in_sandbox
