"""Manifests as people have them: what is read, what is said of what cannot be."""

import pytest
from api_manifests import deployment, loaded, only, pod, refused, service

from emu.api import load
from emu.errors import InputError, Place


def test_documents_are_read_in_order_and_empty_ones_skipped():
    text = f"---\n# nothing\n---\n{pod()}---\n{service('{ports: [{port: 80}]}')}---\n"
    assert [type(obj).__name__ for obj in loaded(text).objects] == ["Pod", "Service"]


def test_a_namespaced_object_is_in_default_when_it_does_not_say():
    assert only(pod()).metadata.namespace == "default"


def test_a_namespace_is_in_no_namespace():
    assert only("{apiVersion: v1, kind: Namespace, metadata: {name: a}}").metadata.namespace == ""


@pytest.mark.parametrize("kind", ["List", "PodList"])
def test_a_list_is_its_items(kind):
    item = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: nginx}]}}"
    assert only(f"apiVersion: v1\nkind: {kind}\nitems:\n- {item}\n").metadata.name == "a"


def test_items_of_a_typed_list_may_leave_their_kind_out():
    item = "{metadata: {name: a}, spec: {containers: [{name: c, image: nginx}]}}"
    assert only(f"apiVersion: v1\nkind: PodList\nitems: [{item}]").KIND == "Pod"


def test_what_a_server_wrote_is_forgotten():
    text = pod().replace("{name: web}", "{name: web, uid: abc, resourceVersion: '7', creationTimestamp: null}")
    obj = only(text + "status: {phase: Running, podIP: 10.244.1.2, whatever: 1}\n")
    assert (obj.metadata.uid, obj.metadata.resource_version, obj.status.pod_ip) == ("", "", "")


def test_anchors_and_merge_keys_are_followed():
    text = (
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: &l {app: web}}\nspec:\n  nodeSelector:\n"
        "    <<: *l\n    disk: ssd\n  containers: [{name: c, image: nginx}]\n"
    )
    assert only(text).spec.node_selector == {"app": "web", "disk": "ssd"}


def test_json_is_yaml():
    assert only('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}').metadata.name == "a"


def test_fields_without_meaning_are_named_once():
    resources = "imagePullPolicy: Always, resources: {limits: {cpu: 1}}"
    both = loaded(f"{pod(resources)}---\n{pod(resources, name='other')}")
    assert both.ignored == ("Container.imagePullPolicy", "Container.resources")


def test_empty_fields_are_neither_ignored_nor_refused():
    assert loaded(pod("resources: {}, volumeMounts: []", "hostNetwork: false")).ignored == ()


def test_kinds_without_meaning_are_named_as_ignored():
    assert loaded("{apiVersion: v1, kind: ServiceAccount, metadata: {name: a}}").ignored == ("ServiceAccount",)


def test_the_place_of_an_object_and_of_its_fields_is_known():
    result = loaded(f"{pod()}---\n{service('{ports: [{port: 80}]}')}")
    key = ("Service", "default", "web")
    assert result.places[key] == Place("web.yaml", 9)
    assert result.place(key, "spec", "ports", 0, "port") == Place("web.yaml", 12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (service("{ports: [{port: 99999}]}"), "4: Service default/web: spec.ports[0].port is 99999, must be 1-65535"),
        (service("{ports: [{port: 0}]}"), "4: Service default/web: spec.ports[0].port is 0, must be 1-65535"),
        (service("{ports: [{port: 80, nodePort: 30080}], type: NodePort}"), "Service type NodePort is not built yet"),
        (service("{type: ExternalName, externalName: a.b}"), "Service type ExternalName is not built yet"),
        (service("{type: ClusterIp, ports: [{port: 1}]}"), "spec.type is ClusterIp, must be ClusterIP"),
        (service("{port: [{port: 80}]}"), "spec.port is not a field of ServiceSpec; did you mean ports?"),
        (service("{ports: [{port: '80'}]}"), 'spec.ports[0].port is the text "80", must be a whole number'),
        (service("{ports: 80}"), "spec.ports is the number 80, must be a list"),
        (service("{selector: {app: 1}}"), 'spec.selector.app is the number 1, must be a string\n  hint: put it in'),
        (service("{ports: [{port: 80}, ~]}"), "spec.ports[1] is empty"),
        (pod("args: {a: b}"), "6: Pod default/web: spec.containers[0].args is a mapping, must be a list"),
        (pod("tty: 'yes'"), 'spec.containers[0].tty is the text "yes", must be true or false'),
        (pod("env: [{name: A, value: true}]"), "env[0].value is the boolean true, must be a string"),
        (pod(spec="volumes: [{name: a, emptyDir: {}}]"),
         "7: Pod default/web: spec.volumes is not built yet: a Pod has"),
        (pod("envFrom: [{}]"), "spec.containers[0].envFrom is not built yet: there are no ConfigMaps"),
        (pod("porst: []"), "spec.containers[0].porst is not a field of Container; did you mean ports?"),
        (pod().replace("image: nginx", "tty: true"), "spec.containers[0].image is missing"),
        (deployment().replace("apps/v1", "extensions/v1beta1"), "apiVersion is extensions/v1beta1, must be apps/v1"),
        ("{apiVersion: v1, kind: Deploymnt}", "web.yaml:1: kind Deploymnt is not known; did you mean Deployment?"),
        ("{apiVersion: v1, kind: ConfigMap}", "kind ConfigMap is not built yet"),
        ("{apiVersion: v1, kind: Node, metadata: {name: a}}", "Node a: Nodes are made from the topology's nodes"),
        ("{kind: Pod}", "Pod: apiVersion is missing"),
        ("{metadata: {name: a}}", "kind is missing"),
        ("- a", "a Kubernetes object is a mapping, this is a list"),
        ("name: a\nnodes: 2", "kind is missing\n  hint: this looks like a topology file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_the_line_and_the_field(text, message):
    assert message in refused(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b\nc: [d", "web.yaml:3: broken YAML: did not find expected ',' or ']'"),
        ("a:\n\tb: c", "web.yaml:2: broken YAML: found character that cannot start any token"),
        ("a: b\na: c", "web.yaml:2: key a stands here a second time, first in line 1"),
        ("a: *b", "web.yaml:1: there is no anchor &b"),
        ("a: &a [*a]", "web.yaml:1: anchor &a holds an alias to itself"),
        ("a: !secret b", "web.yaml:1: tag !secret is not known"),
        ("a: \x01", "web.yaml:1: not text"),
        ("[" * 100_000, "web.yaml:1: nested more than 100 deep"),
        ("a: !!int b", "web.yaml:1: b is no int"),
        ("{a: b}: c", "web.yaml:1: a key must be a string"),
    ],
)
def test_broken_yaml_is_said_with_its_line(text, message):
    assert message in refused(text)


def test_an_object_that_stands_twice_is_refused_with_both_places():
    assert "web.yaml:9: Pod default/web: stands here a second time, first in web.yaml:1" in refused(
        f"{pod()}---\n{pod()}"
    )


def test_the_same_name_in_two_namespaces_is_two_objects():
    assert len(loaded(f"{pod()}---\n{pod().replace('{name: web}', '{name: web, namespace: b}')}").objects) == 2


def test_an_error_in_the_last_document_leaves_nothing_half_read():
    assert refused(f"{pod()}---\n{service('{ports: [{port: 0}]}')}")


def test_a_folder_is_read_in_the_order_of_names_and_other_files_are_left_alone(tmp_path):
    for name, obj in (("b.yaml", pod(name="b")), ("a.yml", pod(name="a")), ("README.md", "#")):
        (tmp_path / name).write_text(obj)
    assert [obj.metadata.name for obj in load.manifests([tmp_path]).objects] == ["a", "b"]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.yaml: cannot be read: No such file"):
        load.manifests([tmp_path / "gone.yaml"])


@pytest.mark.parametrize(
    ("written", "value"),
    [("0x1F90", 8080), ("017620", 8080), ("8_080", 8080), ("+8080", 8080)],
)
def test_numbers_are_those_of_yaml_1_1(written, value):
    assert only(service(f"{{ports: [{{port: {written}}}]}}")).spec.ports[0].port == value


@pytest.mark.parametrize("written", ["12:30", "2024-01-01", "'80'", "1.2.3"])
def test_what_kubectl_takes_for_text_is_text(written):
    assert only(pod(f"args: [{written}]")).spec.containers[0].args == (written.strip("'"),)
