"""Kubernetes' validation: one broken rule a line."""

import pytest
from api_manifests import deployment, loaded, only, pod, refused, service

PORT = "ports: [{port: 80}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pod(name="Web"), "3: Pod default/Web: metadata.name is Web, must be lower-case"),
        (pod(name="a" * 254), "must have 253 characters at most"),
        (pod().replace("{name: web}", "{generateName: web-}"), "metadata.name is missing\n  hint: generateName is for"),
        (pod().replace("{name: web}", "{}"), "metadata.name is missing"),
        (pod().replace("{name: web}", "{name: a, labels: {-a: b}}"), "metadata.labels.-a is no key"),
        (pod().replace("{name: web}", "{name: a, labels: {a/b/c: b}}"), 'metadata.labels["a/b/c"] is no key'),
        (pod().replace("{name: web}", "{name: a, labels: {a: b_}}"), "metadata.labels.a is b_, must be"),
        (pod().replace("{name: web}", "{name: a, namespace: a.b}"), "metadata.namespace is a.b, must be"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: a.b}}", "metadata.name is a.b"),
        ("{apiVersion: v1, kind: Namespace, metadata: {name: a, namespace: b}}", "but a Namespace is in no namespace"),
        (service(f"{{{PORT}}}", name="1web"),
         "metadata.name is 1web, must be lower-case letters, digits and -, and begin"),
    ],
)  # fmt: skip
def test_names_and_labels(text, message):
    assert message in refused(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pod().replace("    - {", "    - {name: c, image: a}\n    - {"),
         "spec.containers[1].name is c, which spec.containers[0]"),
        (pod(spec="initContainers: [{name: c, image: a}]"),
         "spec.initContainers[0].name is c, which spec.containers[0] has"),
        (pod(spec="initContainers: [{name: i, image: a, readinessProbe: {exec: {command: [a]}}}]"),
         "spec.initContainers[0].readinessProbe must not be given for an init container"),
        (pod("ports: [{containerPort: 65536}]"), "ports[0].containerPort is 65536, must be 1-65535"),
        (pod("ports: [{containerPort: 1, name: a--b}]"), "ports[0].name is a--b, must be"),
        (pod("ports: [{containerPort: 1, name: aaaaaaaaaaaaaaaa}]"), "15 characters at most, has 16"),
        (pod("ports: [{containerPort: 1, name: a}, {containerPort: 2, name: a}]"),
         "ports[1].name is a, which spec.containers[0].ports[0] has too"),
        (pod("ports: [{containerPort: 1, protocol: tcp}]"),
         "protocol is tcp, must be TCP, UDP or SCTP\n  hint: did you mean TCP?"),
        (pod("env: [{name: A=B}]"), "env[0].name is A=B, must be printable"),
        (pod("env: [{name: A, value: b, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"),
         "must not be given beside value"),
        (pod("env: [{name: A, valueFrom: {fieldRef: {fieldPath: status.podip}}}]"), "did you mean status.podIP"),
        (pod("readinessProbe: {}"), "readinessProbe has no action, must have one of httpGet, tcpSocket, exec"),
        (pod("readinessProbe: {tcpSocket: {port: 1}, httpGet: {port: 1}}"), "has httpGet and tcpSocket, must have one"),
        (pod("readinessProbe: {tcpSocket: {port: http}}"),
         "tcpSocket.port is http, which is no port of this container"),
        (pod("readinessProbe: {httpGet: {port: 0}}"), "httpGet.port is 0, must be 1-65535"),
        (pod("readinessProbe: {httpGet: {port: '80'}}"),
         'is the text "80", must be a number or a name\n  hint: leave the quotes'),
        (pod("readinessProbe: {httpGet: {port: 1, scheme: FTP}}"), "scheme is FTP, must be HTTP or HTTPS"),
        (pod("livenessProbe: {httpGet: {port: 1}, successThreshold: 2}"),
         "livenessProbe.successThreshold is 2, must be 1"),
        (pod("readinessProbe: {httpGet: {port: 1}, periodSeconds: 0}"), "periodSeconds is 0, must be 1 at least"),
        (pod(spec="restartPolicy: never"), "spec.restartPolicy is never, must be Always, OnFailure or Never"),
        (pod(spec="dnsPolicy: None"), "spec.dnsConfig.nameservers must be given with dnsPolicy None"),
        (pod(spec="dnsConfig: {nameservers: [a]}"), "spec.dnsConfig.nameservers[0] is a, must be an IP address"),
        (pod(spec="hostAliases: [{ip: 1.2.3, hostnames: [a]}]"),
         "spec.hostAliases[0].ip is 1.2.3, must be an IP address"),
        (pod(spec="hostname: a.b"), "spec.hostname is a.b"),
        (pod(spec="terminationGracePeriodSeconds: -1"), "is -1, must be 0 at least"),
        (pod(spec="containers: []").replace("  containers:\n    - {name: c, image: nginx}\n", ""),
         "must have one container"),
        (pod().replace("{name: web}", "{name: a, annotations: {kube-emu.io/ip: 10.244.1}}"),
         'metadata.annotations["kube-emu.io/ip"] is 10.244.1, must be an IP address'),
    ],
)  # fmt: skip
def test_pods(text, message):
    assert message in refused(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (deployment(labels="{app: wbe}"),
         "8: Deployment default/web: spec.template.metadata.labels.app is wbe, must be web"),
        (deployment(labels="{}"), "spec.template.metadata.labels.app is missing, must be web as spec.selector has it"),
        (deployment(selector="{}"), "spec.selector is empty"),
        (deployment(selector="{matchExpressions: [{key: app, operator: In, values: [a]}]}"),
         "does not match the labels"),
        (deployment(selector="{matchExpressions: [{key: app, operator: in, values: [a]}]}"), "did you mean In?"),
        (deployment(selector="{matchExpressions: [{key: app, operator: Exists, values: [a]}]}"),
         "values must not be given"),
        (deployment(selector="{matchExpressions: [{key: app, operator: In}]}"),
         "values must be given with operator In"),
        (deployment(spec="replicas: -1"), "spec.replicas is -1, must be 0 at least"),
        (deployment().replace("{containers", "{restartPolicy: Never, containers"),
         "restartPolicy is Never, must be Always"),
        (deployment().replace("  selector: {matchLabels: {app: web}}\n", ""),
         "4: Deployment default/web: spec.selector is missing"),
    ],
)  # fmt: skip
def test_deployments(text, message):
    assert message in refused(text)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("{}", "spec.ports is missing"),
        ("{ports: [{port: 80}, {port: 81}]}", "spec.ports[0].name is missing: of several ports each has a name"),
        ("{ports: [{port: 80, name: a}, {port: 81, name: a}]}", "spec.ports[1].name is a, which spec.ports[0] has too"),
        ("{ports: [{port: 80, name: a}, {port: 80, name: b}]}", "spec.ports[1] is 80/TCP, which spec.ports[0] has too"),
        ("{ports: [{port: 80, targetPort: 65536}]}", "targetPort is 65536, must be 1-65535"),
        ("{ports: [{port: 80, targetPort: Web}]}", "targetPort is Web, must be"),
        ("{ports: [{port: 80, name: A}]}", "spec.ports[0].name is A"),
        (f"{{{PORT}, clusterIP: 10.96.0}}", "spec.clusterIP is 10.96.0, must be an IP address"),
        (f"{{{PORT}, clusterIP: 10.96.0.9, clusterIPs: [10.96.0.8]}}",
         "spec.clusterIPs[0] is 10.96.0.8, must be that of"),
        (f"{{{PORT}, sessionAffinity: clientIP}}", "must be None or ClientIP\n  hint: did you mean ClientIP?"),
        (f"{{{PORT}, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 9}}}}}}",
         "must not be given with sessionAffinity"),
        (f"{{{PORT}, sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 86401}}}}}}",
         "timeoutSeconds is 86401, must be 1-86400"),
        (f"{{{PORT}, internalTrafficPolicy: Node}}", "spec.internalTrafficPolicy is Node, must be Cluster or Local"),
        (f"{{{PORT}, ipFamilies: [IPv4, IPv4]}}", "spec.ipFamilies[1] is IPv4, which spec.ipFamilies[0] has too"),
        (f"{{{PORT}, ipFamilyPolicy: Dual}}", "must be SingleStack, PreferDualStack or RequireDualStack"),
        (f"{{{PORT}, externalIPs: [1.2.3.4]}}", "spec.externalIPs is not built yet"),
    ],
)  # fmt: skip
def test_services(spec, message):
    assert message in refused(service(spec))


def test_one_port_number_may_serve_two_protocols():
    assert only(service("{ports: [{port: 53, name: a}, {port: 53, name: b, protocol: UDP}]}"))


def test_a_headless_service_may_have_no_ports():
    assert only(service("{clusterIP: None}")).spec.cluster_ip == "None"


def test_an_empty_selector_is_none():
    assert only(service(f"{{{PORT}, selector: {{}}}}")).spec.selector is None


def endpoints(subset):
    return f"apiVersion: v1\nkind: Endpoints\nmetadata: {{name: web}}\nsubsets: [{subset}]\n"


def endpoint_slice(text):
    return f"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: web-1}}\n{text}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (endpoints("{ports: [{port: 80}]}"), "subsets[0] has neither addresses nor notReadyAddresses"),
        (endpoints("{addresses: [{ip: 127.0.0.1}]}"), "subsets[0].addresses[0].ip is 127.0.0.1, a loopback address"),
        (endpoints("{addresses: [{ip: 169.254.1.1}]}"), "a link-local address"),
        (endpoints("{addresses: [{ip: 10.0.0.1}], ports: [{port: 1}, {port: 2}]}"),
         "subsets[0].ports[0].name is missing"),
        (endpoint_slice("addressType: FQDN"), "addressType is FQDN, must be IPv4 or IPv6"),
        (endpoint_slice("endpoints: [{addresses: []}]"), "endpoints[0].addresses has 0 items, must have 1-100"),
        (endpoint_slice("endpoints: [{addresses: ['fd00::1']}]"), "is fd00::1, must be IPv4 as addressType says"),
        (endpoint_slice("ports: [{port: 1}, {port: 2}]"), "ports must each have a name"),
    ],
)  # fmt: skip
def test_hand_made_endpoints(text, message):
    assert message in refused(text)


def test_hand_made_endpoints_are_read():
    text = endpoints("{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}")
    assert loaded(text).objects[0].subsets[0].addresses[0].ip == "10.0.0.1"
