"""Programs and captures work on the caller's own file descriptors."""

from __future__ import annotations

import os
import pty
import select
import signal
import struct
import sys
import termios
from fcntl import ioctl

import pytest

EMU = [sys.executable, "-c", "import sys; from emu.cli.main import run; sys.exit(run(None))"]


@pytest.fixture
def on_a_terminal(testbed):
    """Starts a command line on a terminal of 30 x 100; returns that terminal and how to wait for the status."""
    started = []

    def start(*arguments):
        pid, fd = pty.fork()
        if not pid:
            resize(0, 30, 100)  # before anybody can look
            os.execv(EMU[0], [*EMU, *arguments])
        started.append((pid, fd))
        return fd

    yield start
    for pid, fd in started:
        os.close(fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def resize(fd, rows, columns):
    ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def read_until(fd, text, timeout_s=10):
    seen = ""
    while text not in seen:
        assert select.select([fd], [], [], timeout_s)[0], f"waited for {text!r}, saw {seen!r}"
        try:
            seen += os.read(fd, 4096).decode()
        except OSError:
            raise AssertionError(f"ended before {text!r}, saw {seen!r}") from None
    return seen


def test_output_and_exit_status_are_the_programs_own(emu, testbed):
    said = emu("exec", "client", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (said.code, said.out, said.err) == (7, "out\n", "err\n")


def test_a_signal_ends_with_its_shell_status(emu, testbed):
    assert emu("exec", "client", "--", "sh", "-c", "kill -TERM $$").code == 128 + signal.SIGTERM


def test_without_i_a_program_reads_nothing(emu, testbed):
    assert emu("exec", "client", "--", "cat").out == ""


def test_options_of_the_program_stay_its_own(emu, testbed):
    assert emu("exec", "client", "--", "echo", "-t", "-n", "x", "--help").out == "-t -n x --help\n"


def test_options_may_stand_behind_the_name_up_to_the_two_dashes(emu, testbed):
    assert emu("exec", "client", "-c", "shell", "-n", "default", "--", "echo", "-c").out == "-c\n"
    assert emu("exec", "client", "--nosuch", "--", "true").code == 2


def test_without_two_dashes_what_follows_the_name_is_the_programs(emu, testbed):
    assert emu("exec", "client", "echo", "-c", "x").out == "-c x\n"


def test_the_terminal_is_a_real_one_of_the_same_size(on_a_terminal):
    fd = on_a_terminal("exec", "-it", "client", "--", "sh", "-c", "tty && read x && stty size && echo got $x")
    assert "/dev/pts/" in read_until(fd, "\n")
    os.write(fd, b"hello\n")
    assert "30 100" in read_until(fd, "got hello")


def test_the_terminal_follows_the_size_of_the_callers(on_a_terminal):
    script = "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done"
    fd = on_a_terminal("exec", "-it", "client", "--", "sh", "-c", script)
    read_until(fd, "ready")
    resize(fd, 40, 120)
    read_until(fd, "40 120")


def test_ctrl_c_goes_to_the_program_and_not_to_us(on_a_terminal):
    fd = on_a_terminal("exec", "-it", "client", "--", "sh", "-c", "trap 'echo caught; exit 5' INT; echo ready; read x")
    read_until(fd, "ready")
    os.write(fd, b"\x03")
    read_until(fd, "caught")


def test_a_capture_ends_after_its_time_and_says_what_it_dropped(emu, testbed, tmp_path):
    said = emu("capture", "node1:cni0", "-w", str(tmp_path / "x.pcapng"), "--duration", "0.05")
    assert said.code == 0
    assert said.err.splitlines()[0] == "recording at 1 points; Ctrl-C ends it"
    assert said.err.splitlines()[-1] == "       0 packets, 0 dropped"


def test_a_capture_by_labels_is_of_the_pods_that_have_them(emu, testbed, tmp_path):
    said = emu("capture", "-l", "app=web", "-w", str(tmp_path / "x.pcapng"), "--duration", "0")
    assert said.err.startswith("recording at 2 points")
    assert emu("capture", "-l", "app=nothing", "-w", str(tmp_path / "x.pcapng")).code == 2


def test_a_file_that_cannot_be_written_is_told_before_anything_starts(emu, testbed, tmp_path):
    said = emu("capture", "-w", str(tmp_path / "no" / "x.pcapng"))
    assert said.code == 2
    assert "cannot be written: No such file or directory" in said.err


def test_who_kills_the_client_ends_the_program(testbed, tmp_path):
    alive, held = os.pipe()
    client = os.fork()
    if not client:
        os.dup2(held, 1)
        os.execv(EMU[0], [*EMU, "exec", "client", "--", "sh", "-c", "echo running; exec sleep 1000"])
    os.close(held)
    assert os.read(alive, 100) == b"running\n"
    os.kill(client, signal.SIGKILL)
    os.waitpid(client, 0)
    assert select.select([alive], [], [], 10)[0]
    assert os.read(alive, 1) == b""  # nobody holds the other end any more
    os.close(alive)
