"""What CNI plugins report finds its Pod, and only the Pod that they were called for."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from lab_without_kernel import NOW, NoHost

from emu import names
from emu.api.objects import Container, ObjectMeta, Pod, PodSpec
from emu.api.topology import Cni, Dns, NodeEntry, Topology
from emu.errors import KernelError
from emu.kernel.plugins import Outcome
from emu.plan.model import Changes, Plan
from emu.testbed.reconciler import Reconciler

CONFLIST = {"cniVersion": "1.0.0", "name": "mynet", "plugins": ({"type": "ptp", "ipam": {"type": "host-local"}},)}


def lab() -> Reconciler:
    cni = Cni(mode="plugins", conflist=CONFLIST)
    topology = Topology(name="lab", nodes=(NodeEntry(name="node1"),), dns=Dns(replicas=0), cni=cni)
    made = Reconciler(topology, NoHost(), now=lambda: NOW)
    spec = PodSpec(containers=(Container(name="main", image="nginxdemos/hello"),))
    made.apply([Pod(metadata=ObjectMeta(name="web", namespace="default"), spec=spec)])
    return made


def web(made: Reconciler) -> Pod:
    found = made.get(("Pod", "default", "web"))
    assert isinstance(found, Pod)
    return found


def reported(made: Reconciler, **outcome: object) -> Pod:
    made.host.kernel.plugins.outcomes.append(Outcome(pod="default/web", **outcome))
    made.fold()
    return web(made)


def test_a_pod_has_the_addresses_that_its_plugins_have_given() -> None:
    made = lab()
    sandbox = names.container_id(web(made).metadata.uid)
    assert reported(made, container_id=sandbox, addresses=(ip_address("10.1.0.2"),)).status.pod_ip == "10.1.0.2"
    assert made.applied is not None and made.applied.netns["default.web"].pod is not None


def test_what_they_said_of_a_pod_that_was_made_anew_is_not_this_ones() -> None:
    assert reported(lab(), container_id="another", addresses=(ip_address("10.1.0.2"),)).status.pod_ip == ""


def test_their_refusal_stands_in_the_pods_condition_until_they_can() -> None:
    made = lab()
    sandbox = names.container_id(web(made).metadata.uid)
    (condition,) = [
        each for each in reported(made, container_id=sandbox, error="no VLAN").status.conditions if each.reason
    ]
    assert (condition.reason, condition.message) == (
        "FailedCreatePodSandBox",
        "failed to setup network for sandbox: no VLAN",
    )
    given = reported(made, container_id=sandbox, addresses=(ip_address("10.1.0.2"),))
    assert given.status.pod_ip == "10.1.0.2" and not any(each.reason for each in given.status.conditions)


def test_an_address_that_could_not_be_folded_in_is_so_the_next_time() -> None:
    made = lab()
    kernel = made.host.kernel
    then, kernel.apply = kernel.apply, failing
    given = {"container_id": names.container_id(web(made).metadata.uid), "addresses": (ip_address("10.1.0.2"),)}
    with pytest.raises(KernelError):
        reported(made, **given)
    assert web(made).status.pod_ip == ""
    kernel.apply = then
    made.fold()
    assert web(made).status.pod_ip == "10.1.0.2"
    assert not kernel.plugins.outcomes, "it is forgotten then"


def failing(changes: Changes, plan: Plan) -> None:
    raise KernelError("no more room")
