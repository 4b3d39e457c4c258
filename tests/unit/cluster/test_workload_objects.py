"""Deployments, ReplicaSets, DaemonSets → Pods."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from cluster_world import (
    LATER,
    again,
    all_ready,
    as_reported,
    cluster,
    container,
    deployment,
    get,
    pod,
    pods_of,
    registry,
    service,
    template,
    topology,
    where_is,
)

from emu.api.objects import DaemonSet, DaemonSetSpec, LabelSelector, Namespace, ObjectMeta, ReplicaSet, key_of
from emu.api.topology import Dns, NodeEntry
from emu.cluster.lifecycle import delete
from emu.cluster.resolve import resolve
from emu.errors import InputError, Place

SAFE = "[bcdfghjklmnpqrstvwxz2456789]"


def daemonset(name: str, **spec: object) -> DaemonSet:
    selector = LabelSelector(match_labels={"app": name})
    return DaemonSet(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=DaemonSetSpec(selector=selector, template=template({"app": name}, **spec)),
    )


def replica_sets(where: object, owner: str) -> list[ReplicaSet]:
    found = [obj for obj in where.objects.values() if isinstance(obj, ReplicaSet)]
    return [each for each in found if each.metadata.owner_references[0].name == owner]


def test_a_deployment_makes_a_replica_set_and_pods_with_kubernetes_like_names() -> None:
    where = cluster(deployment("web", 3))
    (owned,) = replica_sets(where, "web")
    assert re.fullmatch(rf"web-{SAFE}{{8,10}}", owned.metadata.name)
    own_hash = owned.metadata.name.removeprefix("web-")
    assert owned.spec.selector.match_labels == {"app": "web", "pod-template-hash": own_hash}
    for each in pods_of(where, "web"):
        assert re.fullmatch(rf"{owned.metadata.name}-{SAFE}{{5}}", each.metadata.name)
        assert each.metadata.labels == {"app": "web", "pod-template-hash": own_hash}
        (owner,) = each.metadata.owner_references
        assert (owner.kind, owner.name, owner.uid) == ("ReplicaSet", owned.metadata.name, owned.metadata.uid)


def test_same_input_same_names_and_another_seed_other_names() -> None:
    names = {each.name for each in cluster(deployment("web", 3)).pods}
    assert names == {each.name for each in cluster(deployment("web", 3)).pods}
    assert not names & {each.name for each in cluster(deployment("web", 3), topo=topology(seed=1)).pods}


def test_scaling_up_keeps_the_pods_there_are() -> None:
    before = cluster(deployment("web", 2))
    after = again(before, replace(get(before, "Deployment", "web"), spec=deployment("web", 4).spec))
    assert len(pods_of(after, "web")) == 4
    for each in pods_of(before, "web"):
        assert after.objects[key_of(each)] is each


def test_scaling_down_terminates_what_is_not_ready_first_then_the_newest() -> None:
    before = all_ready(cluster(deployment("web", 4)))
    oldest, *_, newest = pods_of(before, "web")
    less = replace(get(before, "Deployment", "web"), spec=deployment("web", 2).spec)
    after = again(before, less, as_reported(oldest, ready=False))
    ending = [each.metadata.name for each in pods_of(after, "web") if each.metadata.deletion_timestamp]
    assert ending == [oldest.metadata.name, newest.metadata.name]


def test_deletion_time_is_the_end_of_the_grace_period() -> None:
    before = all_ready(cluster(deployment("web", 1, termination_grace_period_seconds=20)))
    after = again(before, replace(get(before, "Deployment", "web"), spec=deployment("web", 0).spec), now=LATER)
    (ending,) = pods_of(after, "web")
    assert (ending.metadata.deletion_timestamp, ending.metadata.deletion_grace_period_seconds) == (
        "2026-01-01T00:01:20Z",
        20,
    )


def test_a_terminating_pod_stays_in_the_cluster_until_its_object_is_gone() -> None:
    before = all_ready(cluster(deployment("web", 1)))
    ending = again(before, replace(get(before, "Deployment", "web"), spec=deployment("web", 0).spec))
    assert len(ending.pods) == 1
    assert again(ending, deletes=[key_of(pods_of(ending, "web")[0])]).pods == ()


def test_a_pod_that_is_gone_is_replaced_under_another_name() -> None:
    before = all_ready(cluster(deployment("web", 1)))
    (old,) = pods_of(before, "web")
    (new,) = pods_of(again(before, deletes=[key_of(old)]), "web")
    assert new.metadata.name != old.metadata.name


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_finished_pod_of_a_replica_set_is_replaced_and_a_bare_one_is_not(phase: str) -> None:
    before = cluster(deployment("web", 1), pod("alone"))
    finished = as_reported(pods_of(before, "web")[0], ready=False, phase=phase)
    after = again(before, finished, as_reported(get(before, "Pod", "alone"), ready=False, phase=phase))
    assert len(pods_of(after, "web")) == 2
    assert sum(each.metadata.name == "alone" for each in pods_of(after, "alone") or [get(after, "Pod", "alone")]) == 1


def test_deleting_a_deployment_takes_its_replica_set_and_terminates_its_pods() -> None:
    before = all_ready(cluster(deployment("web", 2)))
    puts, deletes = delete(before.objects, [("Deployment", "default", "web")], LATER)
    after = again(before, *puts, deletes=deletes)
    assert replica_sets(after, "web") == []
    assert all(each.metadata.deletion_timestamp for each in pods_of(after, "web"))
    assert not pods_of(all_ready(after), "web")


def test_a_new_template_rolls_without_losing_more_than_a_quarter() -> None:
    where = all_ready(cluster(deployment("web", 4), service("web")))
    changed = deployment("web", 4, containers=(container(name="other"),))
    where = again(where, replace(get(where, "Deployment", "web"), spec=changed.spec))
    new, old = sorted(replica_sets(where, "web"), key=lambda each: each.spec.replicas)
    assert (new.spec.replicas, old.spec.replicas) == (2, 3)
    where = all_ready(where)
    sizes = {each.metadata.annotations["deployment.kubernetes.io/revision"]: each.spec.replicas
             for each in replica_sets(where, "web")}  # fmt: skip
    assert sizes == {"1": 0, "2": 4}
    assert {each.containers[0].container.name for each in where.pods} == {"other"}


def test_a_template_that_comes_back_finds_its_old_replica_set() -> None:
    first = all_ready(cluster(deployment("web", 1)))
    plain = get(first, "Deployment", "web")
    other = replace(plain, spec=deployment("web", 1, containers=(container(name="other"),)).spec)
    second = all_ready(again(first, other))
    third = all_ready(again(second, replace(get(second, "Deployment", "web"), spec=plain.spec)))
    assert len(replica_sets(third, "web")) == 2
    (live,) = [each for each in replica_sets(third, "web") if each.spec.replicas]
    assert live.metadata.name == replica_sets(first, "web")[0].metadata.name
    assert live.metadata.annotations["deployment.kubernetes.io/revision"] == "3"


def test_the_status_counts_the_pods() -> None:
    where = cluster(deployment("web", 2))
    status = get(where, "Deployment", "web").status
    assert (status.replicas, status.updated_replicas, status.ready_replicas, status.unavailable_replicas) == (
        2,
        2,
        0,
        2,
    )
    status = get(all_ready(where), "Deployment", "web").status
    assert (status.ready_replicas, status.available_replicas, status.unavailable_replicas) == (2, 2, 0)
    assert [(each.type, each.status) for each in status.conditions] == [("Available", "True"), ("Progressing", "True")]


def test_a_daemon_set_has_one_pod_on_every_matching_node() -> None:
    nodes = (NodeEntry(name="a"), NodeEntry(name="b", labels={"disk": "ssd"}), NodeEntry(name="c"))
    everywhere = cluster(daemonset("agent"), topo=topology(nodes=nodes))
    assert sorted(each.node for each in everywhere.pods) == ["a", "b", "c"]
    some = cluster(daemonset("agent", node_selector={"disk": "ssd"}), topo=topology(nodes=nodes))
    assert [each.node for each in some.pods] == ["b"]
    assert re.fullmatch(rf"agent-{SAFE}{{5}}", some.pods[0].name)


def test_a_daemon_set_is_updated_one_node_at_a_time() -> None:
    where = all_ready(cluster(daemonset("agent"), topo=topology(3)))
    changed = replace(get(where, "DaemonSet", "agent"), spec=daemonset("agent", containers=(container(name="x"),)).spec)
    where = again(where, changed)
    assert sum(bool(each.metadata.deletion_timestamp) for each in pods_of(where, "agent")) == 1
    where = all_ready(where)
    assert {each.containers[0].container.name for each in where.pods} == {"x"}
    assert sorted(each.node for each in where.pods) == ["node1", "node2", "node3"]


def test_a_namespace_terminates_with_all_that_is_in_it() -> None:
    team = Namespace(metadata=ObjectMeta(name="team"))
    before = all_ready(cluster(team, deployment("web", 1, namespace="team"), service("web", namespace="team")))
    puts, deletes = delete(before.objects, [key_of(team)], LATER)
    ending = again(before, *puts, deletes=deletes)
    assert {key[0] for key in ending.objects if key[1] == "team"} == {"Pod"}
    after = again(ending, deletes=[key for key in ending.objects if key[:2] == ("Pod", "team")])
    assert key_of(team) not in after.objects
    assert not any(key[1] == "team" for key in after.objects)


def test_a_permanent_namespace_may_not_be_deleted() -> None:
    where = cluster()
    with pytest.raises(InputError, match="Namespace default: this namespace may not be deleted"):
        delete(where.objects, [("Namespace", "", "default")], LATER)


def test_an_object_in_a_missing_namespace_is_refused() -> None:
    with pytest.raises(InputError, match="Pod nowhere/a: namespace nowhere does not exist"):
        cluster(pod("a", namespace="nowhere"))


def test_every_namespace_carries_its_name_as_a_label() -> None:
    where = cluster(Namespace(metadata=ObjectMeta(name="team")))
    for name in ("default", "kube-system", "kube-public", "kube-node-lease", "team"):
        assert get(where, "Namespace", name, "").metadata.labels["kubernetes.io/metadata.name"] == name


def test_an_unknown_image_is_refused_even_where_no_pod_runs_it_yet() -> None:
    for obj in (
        pod("a", containers=(container(image="no/such"),)),
        deployment("a", 0, containers=(container(image="no/such"),)),
    ):
        with pytest.raises(InputError, match=rf"{obj.KIND} default/a: container main.*no/such"):
            cluster(obj)


def test_an_error_names_the_file_and_line_of_the_manifest() -> None:
    wrong = deployment("web", 1, node_name="node9")
    places = {key_of(wrong): Place("web.yaml", 14)}
    with pytest.raises(InputError, match=rf"web.yaml:14: Pod default/web-{SAFE}+-{SAFE}+: spec.nodeName is node9"):
        resolve(topology(), {key_of(wrong): wrong}, registry(), LATER, places=places)


def test_the_cluster_dns_is_as_kubeadm_makes_it() -> None:
    where = resolve(topology(dns=Dns()), {}, registry(), LATER)
    assert sorted(where_is(where).values()) == ["node1 10.244.1.2", "node2 10.244.2.2"]
    assert all(each.resolv_conf == "" for each in where.pods)
    assert [f"{each} {each.protocol} {each.cluster_ip}:{each.port}" for each in where.frontends] == [
        "default/kubernetes:https TCP 10.96.0.1:443",
        "kube-system/kube-dns:dns UDP 10.96.0.10:53",
        "kube-system/kube-dns:dns-tcp TCP 10.96.0.10:53",
        "kube-system/kube-dns:metrics TCP 10.96.0.10:9153",
    ]
    assert [str(each) for each in where.frontends[0].backends] == ["192.168.100.11:6443"]
