"""Nodes say what they run on."""

from __future__ import annotations

from lab_without_kernel import lab

from emu.testbed.system import system


def test_nodes_say_which_kernel_and_system_they_run_on_and_keep_it() -> None:
    testbed = lab(dns=0)
    testbed.up(())
    for _ in range(2):
        info = testbed.get(("Node", "", "node2")).status.node_info
        assert (info.kernel_version, info.os_image) == ("6.1.0", "Debian GNU/Linux 12 (bookworm)")
        assert info.kubelet_version.startswith("v1.")
        testbed.reconcile()
    testbed.down()


def test_the_machine_is_told_as_kubernetes_names_such_things() -> None:
    found = system()
    assert found.kernel_version[0].isdigit() and found.os_image
    assert found.container_runtime_version.startswith("kube-emu://")
