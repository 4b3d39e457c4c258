"""`emu doctor` tries each feature, and trying changes nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import leaks
import pytest

from emu.errors import MissingFeature
from emu.kernel import features, process
from emu.kernel.trials import TRIALS, Trial

pytestmark = pytest.mark.root

PYTHON = [sys.executable, "-c"]
ENV = {**process.ENVIRONMENT, "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *sys.path))}


def on_a_pretended_machine() -> None:
    before = leaks.snapshot(sysctls=True)
    found = {feature.name: feature for feature in features.probe()}
    leaks.nothing_left(before)
    assert len(found) > len(TRIALS) + 10
    for name in ("namespaces", "Pods that run programs", "veth links", "VXLAN links", "iptables-nft: recent"):
        assert found[name].needed and found[name].ok and not found[name].remedy, found[name]
    for feature in found.values():
        assert feature.ok != bool(feature.remedy), feature


def test_every_feature_is_tried_in_a_lab_that_leaves_nothing():
    leaks.pretend_machine(on_a_pretended_machine)


def test_what_is_missing_is_told_with_its_remedy():
    def refuse() -> str:
        raise MissingFeature("vxlan links", module="vxlan")

    def fail() -> str:
        return process.run(["sh", "-c", "echo Operation not supported >&2; exit 2"]).stdout

    missing = features.tried(Trial("VXLAN links", True, refuse, "modprobe vxlan"))
    assert (missing.ok, missing.needed, missing.remedy) == (False, True, "modprobe vxlan")
    assert "Operation not supported" in features.tried(Trial("x", False, fail, "y")).detail


def without_namespaces() -> None:
    process.run(["sh", "-c", "echo 0 > /proc/sys/user/max_mnt_namespaces"])
    found = {feature.name: feature for feature in features.probe()}
    assert not found["namespaces"].ok
    assert "max_" in found["namespaces"].remedy
    assert "veth links" not in found


def test_a_machine_without_namespaces_is_told_so():
    """The limit belongs to a user namespace: one of the test's own."""
    script = "import leaks, test_features; test_features.without_namespaces()"
    done = process.run(
        ["unshare", "--user", "--map-root-user", "--mount-proc", "--pid", "--fork", *PYTHON, script],
        check=False,
        env=ENV,
    )
    assert done.code == 0, done.stderr
