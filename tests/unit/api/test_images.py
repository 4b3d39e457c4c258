"""Image names to programs, as an OCI runtime would choose."""

import pytest

from emu.api import images
from emu.api.objects import Container
from emu.errors import InputError, Place

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.47"


def program(image, command=(), args=(), extra=None):
    container = Container(name="c", image=image, command=command, args=args)
    return images.program_for(container, images.load_registry(extra), Place("web.yaml", 7))


def served(image, command=(), args=()):
    chosen = program(image, command, args)
    return chosen.serve, chosen.argv


def argv(*args, **kwargs):
    return program(*args, **kwargs).argv


@pytest.mark.parametrize(
    ("image", "command", "args", "handler", "arguments"),
    [
        ("nginxdemos/hello", (), (), "hello", ()),
        ("nginxdemos/hello:0.4", (), (), "hello", ()),
        ("docker.io/nginxdemos/hello:plain-text", (), (), "hello-plain-text", ()),
        ("nginxdemos/hello@sha256:abc", (), (), "hello", ()),
        (AGNHOST, (), ("netexec", "--http-port=8080"), "netexec", ("--http-port=8080",)),
        (AGNHOST, ("/agnhost", "netexec"), ("--udp-port=1",), "netexec", ("--udp-port=1",)),
        (AGNHOST, (), (), "pause", ()),
        ("registry.k8s.io/pause:3.9", (), (), "pause", ()),
        ("registry.k8s.io/coredns/coredns:v1.11.1", (), ("-conf", "/etc/Corefile"), "coredns", ("-conf",
         "/etc/Corefile")),
    ],
)  # fmt: skip
def test_images_of_the_shared_server(image, command, args, handler, arguments):
    assert served(image, command, args) == (handler, arguments)


def test_args_replace_cmd():
    assert argv("nicolaka/netshoot", args=("sleep", "infinity")) == ("sleep", "infinity")
    assert argv("nicolaka/netshoot") == ("bash",)


def test_command_replaces_entrypoint_and_cmd():
    assert argv("curlimages/curl", command=("sleep",), args=("1",)) == ("sleep", "1")


def test_args_go_to_the_entrypoint():
    assert argv("curlimages/curl", args=("-s", "web"))[-3:] == ("entrypoint.sh", "-s", "web")


@pytest.mark.parametrize("image", ["nginxdemos/hello", AGNHOST])
def test_a_command_of_its_own_is_really_run_in_a_served_image(image):
    assert argv(image, command=("sleep", "1")) == ("sleep", "1")


def test_nginx_is_the_real_one():
    assert argv("nginx:1.27")[-3:] == ("nginx", "-g", "daemon off;")


@pytest.mark.parametrize(
    ("name", "familiar"),
    [
        ("docker.io/library/nginx", "nginx"),
        ("library/nginx", "nginx"),
        ("index.docker.io/curlimages/curl:8", "curlimages/curl:8"),
        ("localhost:5000/nginx", "localhost:5000/nginx"),
    ],
)
def test_names_are_looked_up_without_what_docker_adds(name, familiar):
    assert images.familiar(name) == familiar


def test_a_port_of_a_registry_is_no_tag():
    assert images.without_tag("localhost:5000/a/b:1") == "localhost:5000/a/b"


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"image": "nginxdemo/hello"},
         "web.yaml:7: container c: image is nginxdemo/hello, which no program stands for"),
        ({"image": "nginxdemo/hello"}, "did you mean nginxdemos/hello"),
        ({"image": AGNHOST, "args": ("netexek",)}, "hint: did you mean netexec?"),
        ({"image": "a", "extra": {"a": {"srve": "hello"}}},
         "image a: srve is not a field of Image; did you mean serve?"),
        ({"image": "a", "extra": {"a": {}}}, "image a: names no program"),
        ({"image": "a", "extra": {"a": "hello"}}, "image a: must be a mapping"),
    ],
)  # fmt: skip
def test_what_no_program_stands_for_is_refused(kwargs, message):
    with pytest.raises(InputError) as caught:
        program(**kwargs)
    assert message in str(caught.value)


def test_a_topology_adds_and_replaces_images():
    extra = {"my/app": {"cmd": ["python3", "-m", "http.server"]}, "docker.io/library/nginx": {"serve": "hello"}}
    assert argv("my/app:v2", extra=extra) == ("python3", "-m", "http.server")
    assert program("nginx", extra=extra).serve == "hello"
