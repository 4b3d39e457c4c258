from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from shutil import copytree, which

import pytest
from capture_packets import CLIENT, CNI0, POD, UPLINK, VIP, ether, frame, in_vxlan, tcp

from emu.capture import pcapng
from emu.capture.frame import GSO, PARTIAL_CHECKSUM, RAW, Capture, Frame
from emu.errors import InputError
from emu.trace.model import Direction

NOON = 1_700_000_000_123_456_789


@pytest.fixture
def capture() -> Capture:
    first = replace(frame(ether() / tcp(flags="S"), POD, NOON), flags=(PARTIAL_CHECKSUM, GSO))
    second = frame(in_vxlan(tcp(flags="S")), UPLINK, NOON + 1, Direction.IN)
    return Capture((first, second), {UPLINK: 3})


def test_what_is_written_is_read_back(tmp_path: Path, capture: Capture) -> None:
    pcapng.write(tmp_path / "all.pcapng", capture)
    assert pcapng.read(tmp_path / "all.pcapng") == capture


def test_a_raw_interface_stays_one(tmp_path: Path) -> None:
    raw = Capture((frame(tcp(), linktype=RAW),), {})
    pcapng.write(tmp_path / "raw.pcapng", raw)
    assert pcapng.read(tmp_path / "raw.pcapng").frames[0].linktype == RAW


def test_a_frame_cut_short_keeps_its_length(tmp_path: Path) -> None:
    short = Frame(POD, NOON, Direction.OUT, b"\0" * 21, 9000)
    pcapng.write(tmp_path / "short.pcapng", Capture((short,), {}))
    assert pcapng.read(tmp_path / "short.pcapng").frames == (short,)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pcap").write_bytes(b"\xd4\xc3\xb2\xa1" + bytes(20))
    with pytest.raises(InputError, match="not a little-endian pcapng"):
        pcapng.read(tmp_path / "x.pcap")


def test_a_file_cut_off_is_refused_and_says_where(tmp_path: Path, capture: Capture) -> None:
    pcapng.write(tmp_path / "all.pcapng", capture)
    raw = (tmp_path / "all.pcapng").read_bytes()
    (tmp_path / "cut.pcapng").write_bytes(raw[:-40])
    with pytest.raises(InputError, match="cut off in the block at byte"):
        pcapng.read(tmp_path / "cut.pcapng")


@pytest.mark.skipif(which("tshark") is None, reason="tshark is not installed")
def test_wireshark_reads_names_times_directions_and_both_headers(tmp_path: Path, capture: Capture) -> None:
    path = tmp_path / "all.pcapng"
    pcapng.write(path, capture, points=(CNI0,))
    wanted = ("frame.interface_name", "frame.time_epoch", "frame.packet_flags_direction", "ip.dst", "vxlan.vni")
    fields = [word for name in wanted for word in ("-e", name)]
    argv = ["tshark", "-n", "-d", "udp.port==8472,vxlan", "-r", str(path), "-T", "fields", "-E", "separator=|", *fields]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.splitlines() == [
        "default/web:eth0|1700000000.123456789|0x00000002|10.96.10.10|",
        "node1:eth0|1700000000.123456790|0x00000001|192.168.100.12,10.96.10.10|1",
    ]


PROFILES = Path(__file__).parents[3] / "captures" / "wireshark"


@pytest.mark.skipif(which("tshark") is None, reason="tshark is not installed")
def test_the_wireshark_profile_shows_the_place_and_both_pairs_of_addresses(tmp_path: Path, capture: Capture) -> None:
    pcapng.write(tmp_path / "all.pcapng", capture)
    copytree(PROFILES, tmp_path / "config")  # Wireshark writes into its directory
    argv = ["tshark", "-C", "kube-emu", "-r", str(tmp_path / "all.pcapng")]
    env = {**os.environ, "WIRESHARK_CONFIG_DIR": str(tmp_path / "config")}
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60, env=env)
    rows = [line.split()[2:] for line in said.stdout.splitlines()]
    assert rows[0][:5] == ["default/web:eth0", CLIENT, VIP, CLIENT, VIP]
    assert rows[1][:5] == ["node1:eth0", CLIENT, VIP, "192.168.100.11", "192.168.100.12"]
    assert "warning" not in said.stderr.lower()
