"""Network namespaces, made and entered."""

from __future__ import annotations

import os
import socket

import pytest

from emu.kernel import netns, syscalls

pytestmark = pytest.mark.root


def _inode() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def test_a_new_netns_is_another_one_and_has_its_name_under_run(sandbox):
    def inside():
        home = _inode()
        made = netns.create("default.web")
        bound = os.stat("/run/netns/default.web").st_ino
        with netns.entered(made):
            there = _inode()
        return home == _inode(), there == bound == os.fstat(made.fd).st_ino, there != home

    assert sandbox(inside) == (True, True, True)


def test_a_socket_keeps_the_netns_it_was_made_in(sandbox):
    def inside():
        made = netns.create("a")
        with netns.socket_in(made, socket.AF_INET, socket.SOCK_STREAM) as sock, netns.entered(netns.create("b")):
            return made.name, sock.fileno() >= 0, os.get_inheritable(sock.fileno())

    assert sandbox(inside) == ("a", True, False)


def test_an_error_in_a_netns_still_brings_the_thread_home(sandbox):
    def inside():
        home = _inode()
        try:
            with netns.entered(netns.create("a")):
                raise LookupError
        except LookupError:
            return _inode() == home

    assert sandbox(inside) is True


def test_deleting_leaves_no_name_and_no_descriptor(sandbox):
    def inside():
        before = len(os.listdir("/proc/self/fd"))
        errors = [error for made in netns.create_all(f"n{i}" for i in range(5)) for error in netns.delete(made)]
        return errors, os.listdir("/run/netns"), len(os.listdir("/proc/self/fd")) - before

    assert sandbox(inside) == ([], [], 0)


def test_a_name_taken_is_refused_and_nothing_is_left_half_made(sandbox):
    def inside():
        netns.create("a")
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(FileExistsError, match="/run/netns/a"):
            netns.create_all(("b", "a"))
        return sorted(os.listdir("/run/netns")), len(os.listdir("/proc/self/fd")) - before

    assert sandbox(inside) == (["a"], 0)


def test_a_netns_whose_name_somebody_removed_is_still_released(sandbox):
    def inside():
        made = netns.create("a")
        syscalls.umount2("/run/netns/a")
        os.unlink("/run/netns/a")
        return netns.delete(made)

    assert sandbox(inside) == []
