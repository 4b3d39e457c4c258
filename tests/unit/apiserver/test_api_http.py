"""The REST API over a Unix socket: verbs, codes and errors are Kubernetes' own."""

from __future__ import annotations

import http.client
import json
import socket
import threading

import pytest
from apitestbed import filled

from emu.apiserver import routes
from emu.apiserver.http import HttpServer
from emu.errors import KernelError, MissingTool, PlanError

PODS = "/api/v1/namespaces/default/pods"
WEB = "/apis/apps/v1/namespaces/default/deployments/web"


class Api:
    def __init__(self, path, testbed):
        self.path, self.testbed = str(path), testbed

    def open(self):
        connection = http.client.HTTPConnection("testbed")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.path)
        return connection

    def __call__(self, method, path, body=None, **headers):
        connection = self.open()
        connection.request(method, path, body if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.fixture
def api(tmp_path):
    testbed = filled(history=10)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "api.sock"))
        listener.listen()
        server = HttpServer(listener, routes.route(testbed))
        server.start()
        yield Api(tmp_path / "api.sock", testbed)
        testbed.store.close()
        end(server, tmp_path / "api.sock")


def end(server, path):
    """Its thread would go on to poll the number of the listener's descriptor, and keep open whatever gets that next."""
    ending = threading.Thread(target=server.shutdown)
    ending.start()
    while ending.is_alive():  # it looks whether it shall end after each connection
        with socket.socket(socket.AF_UNIX) as waking:
            waking.connect(str(path))
        ending.join(0.1)


def test_a_list_has_kind_version_and_items_in_the_order_of_their_names(api):
    code, body = api("GET", PODS)
    names = [each["metadata"]["name"] for each in body["items"]]
    assert (code, body["kind"], body["apiVersion"]) == (200, "PodList", "v1")
    assert names == sorted(names)
    assert body["metadata"]["resourceVersion"] == str(api.testbed.store.snapshot().version)


def test_a_missing_object_is_404_and_says_which(api):
    code, body = api("GET", f"{PODS}/nothing")
    assert (code, body["kind"], body["reason"], body["message"]) == (
        404,
        "Status",
        "NotFound",
        'pods "nothing" not found',
    )


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/apis/batch/v1/jobs", "/x", "/api/v1/namespaces/a/pods/b/c/d"])
def test_a_path_nobody_serves_is_404(path, api):
    assert api("GET", path)[0] == 404


@pytest.mark.parametrize(("method", "path"), [("DELETE", PODS), ("POST", WEB), ("GET", f"{PODS}/client/scale")])
def test_a_verb_that_is_not_possible_is_405(method, path, api):
    assert api(method, path, {})[0] == 405


def test_what_is_created_is_there_and_created_twice_is_a_conflict(api):
    pod = {"metadata": {"name": "new"}, "spec": {"containers": [{"name": "c", "image": "nicolaka/netshoot"}]}}
    code, body = api("POST", PODS, pod)
    assert (code, body["metadata"]["name"]) == (201, "new")
    assert api("GET", f"{PODS}/new")[1]["status"]["podIP"].startswith("10.244.")
    code, body = api("POST", PODS, pod)
    assert (code, body["reason"]) == (409, "AlreadyExists")


def test_a_merge_patch_changes_what_it_names(api):
    code, body = api("PATCH", WEB, {"metadata": {"labels": {"new": "label"}}})
    assert code == 200
    assert body["metadata"]["labels"] == {"app": "web", "new": "label"}


def test_an_update_from_an_old_version_is_a_conflict(api):
    old = api("GET", WEB)[1]
    api("PATCH", WEB, {"metadata": {"labels": {"new": "label"}}})
    code, body = api("PUT", WEB, old)
    assert (code, body["reason"]) == (409, "Conflict")


def test_scaling_changes_the_number_of_pods(api):
    assert api("PATCH", f"{WEB}/scale", {"spec": {"replicas": 4}})[1]["spec"] == {"replicas": 4}
    assert len(api("GET", f"{PODS}?labelSelector=app%3Dweb")[1]["items"]) == 4


def test_scaling_wants_a_number(api):
    code, body = api("PATCH", f"{WEB}/scale", {"spec": {"replicas": "many"}})
    assert (code, body["message"]) == (400, "spec.replicas is 'many', must be a whole number")


def test_an_unknown_field_is_refused_by_name(api):
    code, body = api("POST", PODS, {"metadata": {"name": "x"}, "spec": {"containers": [], "colour": 1}})
    assert code == 400
    assert "spec.colour" in body["message"]


def test_what_is_no_json_is_told_so(api):
    connection = api.open()
    connection.request("POST", PODS, "{")
    answer = connection.getresponse()
    assert (answer.status, "not JSON" in json.loads(answer.read())["message"]) == (400, True)


def test_apply_is_one_step_all_or_nothing(api):
    version = api.testbed.store.snapshot().version
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": [{"port": 1}]}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "b"},
        "spec": {"containers": [{"name": "c", "image": "no/such-image"}]},
    }
    places = [["a.yaml", 1], ["a.yaml", 7]]
    code, body = api("POST", "/emu/v1/apply", {"objects": [service, pod], "places": places})
    assert code == 400
    assert body["message"].startswith("a.yaml:7: Pod default/b: spec.containers[0].image")
    assert api.testbed.store.snapshot().version == version


@pytest.mark.parametrize(
    ("error", "code", "name"),
    [
        (PlanError("cannot be", hint="do so"), 422, "PlanError"),
        (MissingTool("nft", wanted_for="rules"), 501, "MissingTool"),
        (KernelError("no"), 500, "KernelError"),
        (ValueError("a mistake"), 500, "EmuError"),
    ],
)
def test_errors_carry_their_class_and_hint(error, code, name, api):
    api.testbed.error = error
    got, body = api("POST", "/emu/v1/apply", {"objects": []})
    cause = body["details"]["causes"][0]
    assert (got, body["code"], cause["field"]) == (code, code, name)
    assert cause["message"] == getattr(error, "hint", "see the testbed's log")


def test_a_watch_tells_changes_as_they_come_and_a_table_if_wanted(api):
    connection = api.open()
    version = api.testbed.store.snapshot().version
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    url = f"{PODS}?watch=true&resourceVersion={version}&fieldSelector=metadata.name%3Dclient"
    connection.request("GET", url, headers=accept)
    answer = connection.getresponse()
    api("DELETE", f"{PODS}/client")
    event = json.loads(answer.readline())
    assert (event["type"], event["object"]["kind"]) == ("DELETED", "Table")
    assert event["object"]["rows"][0]["cells"][0] == "client"


def test_a_watch_from_too_long_ago_ends_with_an_error(api):
    code, event = api("GET", f"{PODS}?watch=true&resourceVersion=1")
    assert (code, event["type"], event["object"]["code"]) == (200, "ERROR", 410)
