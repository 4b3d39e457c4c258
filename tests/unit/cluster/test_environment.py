"""Facts: semantics §3, from kubernetes pkg/kubelet/envvars/envvars_test.go."""

from __future__ import annotations

import pytest
from cluster_world import NOW, again, cluster, container, deployment, pod, service

from emu.api.objects import EnvVar, EnvVarSource, Namespace, ObjectFieldSelector, ObjectMeta, ServicePort
from emu.cluster.environment import expanded, service_variables
from emu.errors import InputError


def test_an_unnamed_port_gives_seven_variables() -> None:
    assert service_variables([service("foo-bar", ServicePort(port=8080), cluster_ip="1.2.3.4")]) == {
        "FOO_BAR_SERVICE_HOST": "1.2.3.4",
        "FOO_BAR_SERVICE_PORT": "8080",
        "FOO_BAR_PORT": "tcp://1.2.3.4:8080",
        "FOO_BAR_PORT_8080_TCP": "tcp://1.2.3.4:8080",
        "FOO_BAR_PORT_8080_TCP_PROTO": "tcp",
        "FOO_BAR_PORT_8080_TCP_PORT": "8080",
        "FOO_BAR_PORT_8080_TCP_ADDR": "1.2.3.4",
    }


def test_named_ports_come_in_the_order_of_the_service() -> None:
    ports = ServicePort(port=8081, name="u-d-p", protocol="UDP"), ServicePort(port=8081, name="t-c-p")
    assert list(service_variables([service("abc-123", *ports, cluster_ip="5.6.7.8")]).items()) == [
        ("ABC_123_SERVICE_HOST", "5.6.7.8"),
        ("ABC_123_SERVICE_PORT", "8081"),
        ("ABC_123_SERVICE_PORT_U_D_P", "8081"),
        ("ABC_123_SERVICE_PORT_T_C_P", "8081"),
        ("ABC_123_PORT", "udp://5.6.7.8:8081"),
        ("ABC_123_PORT_8081_UDP", "udp://5.6.7.8:8081"),
        ("ABC_123_PORT_8081_UDP_PROTO", "udp"),
        ("ABC_123_PORT_8081_UDP_PORT", "8081"),
        ("ABC_123_PORT_8081_UDP_ADDR", "5.6.7.8"),
        ("ABC_123_PORT_8081_TCP", "tcp://5.6.7.8:8081"),
        ("ABC_123_PORT_8081_TCP_PROTO", "tcp"),
        ("ABC_123_PORT_8081_TCP_PORT", "8081"),
        ("ABC_123_PORT_8081_TCP_ADDR", "5.6.7.8"),
    ]


def test_a_port_name_may_be_a_number() -> None:
    ports = ServicePort(port=8082), ServicePort(port=8083, name="8083")
    variables = service_variables([service("q-u-u-x", *ports, cluster_ip="9.8.7.6")])
    assert variables["Q_U_U_X_SERVICE_PORT"] == "8082"
    assert variables["Q_U_U_X_SERVICE_PORT_8083"] == "8083"


def test_headless_services_have_none() -> None:
    assert service_variables([service("headless", cluster_ip="None")]) == {}


def test_a_name_that_starts_with_a_digit_gets_an_underscore() -> None:
    assert "_3SCALE_SERVICE_HOST" in service_variables([service("3scale", cluster_ip="1.1.1.1")])


def test_ipv6_hosts_are_bracketed_in_urls() -> None:
    variables = service_variables([service("six", cluster_ip="fd00::1")])
    assert (variables["SIX_PORT"], variables["SIX_SERVICE_HOST"]) == ("tcp://[fd00::1]:80", "fd00::1")


def env(where: object, name: str) -> dict:
    return next(each for each in where.pods if each.name == name).containers[0].env


def test_a_pod_sees_the_services_of_its_namespace_and_kubernetes() -> None:
    other = Namespace(metadata=ObjectMeta(name="other"))
    both = cluster(other, service("web"), service("db", namespace="other"), pod("a"), pod("b", namespace="other"))
    assert {name for name in env(both, "a") if name.endswith("SERVICE_HOST")} == {
        "KUBERNETES_SERVICE_HOST",
        "WEB_SERVICE_HOST",
    }
    assert {name for name in env(both, "b") if name.endswith("SERVICE_HOST")} == {
        "KUBERNETES_SERVICE_HOST",
        "DB_SERVICE_HOST",
    }


def test_without_service_links_only_kubernetes_is_left() -> None:
    where = cluster(service("web"), pod("a", enable_service_links=False))
    assert [name for name in env(where, "a") if name.endswith("SERVICE_HOST")] == ["KUBERNETES_SERVICE_HOST"]


def test_a_pod_keeps_the_services_it_started_with() -> None:
    before = cluster(pod("early"))
    after = again(before, service("web"), pod("late"))
    assert "WEB_SERVICE_HOST" not in env(after, "early")
    assert "WEB_SERVICE_HOST" in env(after, "late")
    assert next(each for each in after.pods if each.name == "early") is before.pods[0]


def test_a_pods_own_entry_wins_and_may_refer_to_others() -> None:
    own = (
        EnvVar(name="WEB_SERVICE_HOST", value="mine"),
        EnvVar(name="URL", value="http://$(WEB_SERVICE_HOST):$(WEB_SERVICE_PORT)/$(UNKNOWN)$$(HOME)"),
    )
    where = cluster(service("web"), pod("a", containers=(container(env=own),)))
    assert env(where, "a")["URL"] == "http://mine:80/$(UNKNOWN)$(HOME)"


def test_downward_fields_are_filled_in() -> None:
    def field(path: str) -> EnvVar:
        return EnvVar(name=path, value_from=EnvVarSource(field_ref=ObjectFieldSelector(field_path=path)))

    paths = ("metadata.name", "status.podIP", "status.hostIP", "spec.nodeName", "metadata.labels['app']")
    where = cluster(pod("a", labels={"app": "x"}, containers=(container(env=tuple(map(field, paths))),)))
    assert [env(where, "a")[path] for path in paths] == ["a", "10.244.1.2", "192.168.100.11", "node1", "x"]


def test_an_unknown_downward_field_is_refused_by_name() -> None:
    wrong = EnvVar(name="X", value_from=EnvVarSource(field_ref=ObjectFieldSelector(field_path="status.phase")))
    with pytest.raises(InputError, match=r"Pod default/a: fieldRef.fieldPath is 'status.phase', must be one of"):
        cluster(pod("a", containers=(container(env=(wrong,)),)))


def test_arguments_are_expanded() -> None:
    args = ("sleep", "$(SECONDS_)", "$$(SECONDS_)", "$(MISSING)")
    shell = container(image="nicolaka/netshoot", args=args, env=(EnvVar(name="SECONDS_", value="5"),))
    where = cluster(pod("a", containers=(shell,)))
    assert where.pods[0].containers[0].program.argv[-4:] == ("sleep", "5", "$(SECONDS_)", "$(MISSING)")


def test_expansion_leaves_a_lone_dollar() -> None:
    assert expanded("$ $(A) $A $(", {"A": "1"}) == "$ 1 $A $("


def test_scaling_one_deployment_leaves_the_environment_of_others_alone() -> None:
    before = cluster(service("web"), deployment("web", 1), pod("a"))
    after = again(before, deployment("web", 3), now=NOW)
    assert next(each for each in after.pods if each.name == "a") is next(e for e in before.pods if e.name == "a")
