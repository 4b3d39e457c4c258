"""What a topology file may not choose is refused where it stands, before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from emu import planners
from emu.api import load
from emu.errors import InputError
from emu.planners import cni, proxy

IPV6 = "family: ipv4-ipv6"


def refused(folder: Path, *lines: str) -> str:
    file = folder / "topology.yaml"
    file.write_text("\n".join(("name: lab", "nodes: 2", *lines)) + "\n")
    with pytest.raises(InputError) as error:
        load.testbed(file, planners.check)
    return str(error.value).removeprefix(f"{folder}/")


def test_a_misspelt_mode_is_named_with_its_line_what_was_meant_and_what_there_is(tmp_path: Path) -> None:
    told = refused(tmp_path, "cni: flanel-vxlan")
    what = "topology.yaml:3: cni.mode is flanel-vxlan, which is no mode; did you mean flannel-vxlan"
    assert told.startswith(what)
    assert f"hint: known: {', '.join(each.NAME for each in cni.MODES)}" in told


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ("proxy:", "  mode: iptable"),
            "topology.yaml:4: proxy.mode is iptable, which is no mode; did you mean iptables?",
        ),
        (
            ("proxy: {options: {masqueradeAl: true}}",),
            "topology.yaml:3: proxy iptables: unknown option masqueradeAl; did",
        ),
        (
            ("proxy:", "  options:", "    masqueradeAll: 1"),
            "topology.yaml:5: proxy.options.masqueradeAll is 1, must be true or false",
        ),
        (("proxy: {mode: none, options: {x: 1}}",), "topology.yaml:3: proxy none: unknown option x"),
        (
            ("cni:", "  mode: flannel-vxlan", "  options:", "    Port: 4789"),
            "topology.yaml:6: cni flannel-vxlan: unknown option Port",
        ),
        (
            ("cni:", "  mode: canal", "  options: {direct_routing: 'yes'}"),
            "topology.yaml:5: cni.options.direct_routing is yes, must be true or false",
        ),
        (
            ("cni:", "  mode: canal", "  options: {veth_mtu: 1200}"),
            "topology.yaml:5: cni.options.veth_mtu is 1200, must be 1280-65535, or 0: found out by Felix",
        ),
        (
            ("cni:", "  mode: calico-vxlan", "  options: {veth_mtu: true}"),
            "topology.yaml:5: cni.options.veth_mtu is true, must be",
        ),
        (
            ("cni:", "  mode: calico-vxlan", "  options: {block_size: 33}"),
            "topology.yaml:5: cni calico-vxlan: block_size is 33, must be 20-32",
        ),
        (("cni:", "  mode: docker", "  options: {mtu: 0}"), "topology.yaml:5: cni.options.mtu is 0, must be 68-65535"),
        (("family: ipv6", "cni: docker"), "topology.yaml:3: family is ipv6, must be ipv4 with cni docker"),
    ],
)
def test_what_a_mode_does_not_take_is_refused_with_its_line(tmp_path: Path, lines: tuple[str, ...], told: str) -> None:
    assert refused(tmp_path, *lines).startswith(told)


@pytest.mark.parametrize("mode", ["flannel-vxlan", "canal", "calico-vxlan"])
def test_an_mtu_that_leaves_a_tunnel_too_little_for_ipv6_is_refused(tmp_path: Path, mode: str) -> None:
    told = refused(tmp_path, IPV6, f"cni: {mode}", "fabric:", "  mtu: 1349")
    assert told.startswith("topology.yaml:6: fabric.mtu is 1349, must be 1350 at least")
    assert f"hint: {mode} takes 70 of it, and IPv6 needs 1280" in told


@pytest.mark.parametrize(
    "lines",
    [
        (IPV6, "cni: flannel-vxlan", "fabric: {mtu: 1350}"),
        (IPV6, "cni: flannel-host-gw", "fabric: {mtu: 1280}"),
        ("cni: flannel-vxlan", "fabric: {mtu: 1280}"),
    ],
)
def test_an_mtu_that_is_enough_is_taken(tmp_path: Path, lines: tuple[str, ...]) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text("\n".join(("name: lab", "nodes: 2", *lines)))
    assert load.testbed(file, planners.check)[0].name == "lab"


@pytest.mark.parametrize("module", [*cni.MODES, *proxy.MODES], ids=lambda module: module.NAME)
def test_every_mode_checks_what_it_is_told(module: object) -> None:
    assert callable(module.check)
