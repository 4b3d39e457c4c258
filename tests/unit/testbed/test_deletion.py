"""What the cluster makes again at once is another object: whoever waits for the deletion sees it."""

from __future__ import annotations

import pytest
from cluster_world import deployment, pod
from lab_without_kernel import lab

from emu.api.objects import key_of
from emu.errors import InputError


@pytest.mark.parametrize(
    "key",
    [
        ("Service", "default", "kubernetes"),
        ("Endpoints", "default", "kubernetes"),
        ("EndpointSlice", "default", "kubernetes"),
        ("Service", "kube-system", "kube-dns"),
        ("Endpoints", "kube-system", "kube-dns"),
        ("Deployment", "kube-system", "coredns"),
    ],
)
def test_what_the_cluster_has_by_itself_comes_back_with_a_new_uid(key: tuple[str, str, str]) -> None:
    testbed = lab()
    seen = [testbed.get(key)]
    since = testbed.store.snapshot().version
    for _ in range(2):
        testbed.delete([key])
        seen.append(testbed.get(key))
    assert len({each.metadata.uid for each in seen}) == 3
    told = [event.type for event in testbed.store.watch(since, timeout_s=0) if key_of(event.object) == key]
    assert [each for each in told if each != "MODIFIED"] == ["DELETED", "ADDED"] * 2


def test_the_pods_of_a_replicaset_made_again_go_with_the_old_one() -> None:
    testbed = lab(deployment("web", 2), dns=0)
    old = {each.metadata.name: each for each in testbed.pods()}
    key = next(key for key in testbed.store.snapshot().objects if key[0] == "ReplicaSet")
    testbed.delete([key])
    pods = testbed.pods()
    assert {each.metadata.name for each in pods if each.metadata.deletion_timestamp} == set(old)
    assert len([each for each in pods if not each.metadata.deletion_timestamp]) == 2


def test_a_pod_applied_again_after_its_deletion_is_another_one() -> None:
    testbed = lab(pod("client"), dns=0)
    key = ("Pod", "default", "client")
    first = testbed.get(key)
    testbed.delete([key])
    testbed.host.stopped.pop()()
    testbed.fold()
    testbed.apply([pod("client")])
    assert testbed.get(key).metadata.uid != first.metadata.uid


def test_reconciling_after_a_restored_deletion_changes_nothing() -> None:
    testbed = lab()
    testbed.delete([("Service", "default", "kubernetes")])
    version = testbed.store.snapshot().version
    testbed.reconcile()
    assert testbed.store.snapshot().version == version


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (("Node", "", "node1"), "Node node1: Nodes are made from the topology"),
        (("Namespace", "", "kube-public"), "this namespace may not be deleted"),
    ],
)
def test_what_may_not_be_deleted_is_refused(key: tuple[str, str, str], words: str) -> None:
    testbed = lab()
    with pytest.raises(InputError, match=words):
        testbed.delete([key])
    assert testbed.get(key)
