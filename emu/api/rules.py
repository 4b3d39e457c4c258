"""The formats Kubernetes wants of names, labels, ports and addresses; each raises `Wrong`.

Source: kubernetes staging/src/k8s.io/apimachinery/pkg/util/validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address

from emu.api.wrong import Wrong, did_you_mean, dotted, shown

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_ENV_NAME = re.compile(r"[ -<>-~]+")  # printable ASCII but =


def label(name: str, *path: str | int) -> None:
    """RFC 1123: namespaces, containers, hostnames, ports of a Service."""
    _match(_LABEL, name, 63, "lower-case letters, digits and -, from letter or digit to letter or digit", path)


def label_1035(name: str, *path: str | int) -> None:
    """RFC 1035: Services; the first character is a letter."""
    _match(_LABEL_1035, name, 63, "lower-case letters, digits and -, and begin with a letter", path)


def subdomain(name: str, *path: str | int) -> None:
    """RFC 1123: most objects."""
    _match(_SUBDOMAIN, name, 253, "lower-case letters, digits, - and .", path)


def port_name(name: str, *path: str | int) -> None:
    """RFC 6335, an IANA service name: ports of a container."""
    _match(_PORT_NAME, name, 15, "lower-case letters, digits and single -, with one letter at least", path)


def env_name(name: str, *path: str | int) -> None:
    if not _ENV_NAME.fullmatch(name):
        raise Wrong(f"is {shown(name)}, must be printable ASCII without =", *path)


def _match(pattern: re.Pattern[str], name: str, longest: int, wanted: str, path: tuple[str | int, ...]) -> None:
    if len(name) > longest:
        raise Wrong(f"is {shown(name)}, must have {longest} characters at most, has {len(name)}", *path)
    if not pattern.fullmatch(name):
        raise Wrong(f"is {shown(name)}, must be {wanted}", *path)


def labels(values: Mapping[str, str], *path: str | int) -> None:
    for key, value in values.items():
        qualified(key, *path, key)
        label_value(value, *path, key)


def label_value(value: str, *path: str | int) -> None:
    if value:
        _match(_QUALIFIED, value, 63, "letters, digits, -, _ and ., from letter or digit to letter or digit", path)


def qualified(key: str, *path: str | int) -> None:
    """`name` or `prefix/name`: keys of labels and annotations."""
    prefix, slash, name = key.rpartition("/")
    good = len(name) <= 63 and _QUALIFIED.fullmatch(name)
    if slash:
        good = good and len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix)
    if not good:
        raise Wrong("is no key: a key is NAME or DOMAIN/NAME, of letters, digits, -, _ and .", *path)


def port(number: int, *path: str | int) -> None:
    between(number, 1, 65535, *path)


def port_or_name(value: int | str, *path: str | int) -> None:
    if isinstance(value, int):
        port(value, *path)
    elif value.isdigit():
        raise Wrong(f'is the text "{value}", must be a number or a name', *path, hint="leave the quotes out")
    else:
        port_name(value, *path)


def between(number: int, least: int, most: int, *path: str | int) -> None:
    if not least <= number <= most:
        raise Wrong(f"is {number}, must be {least}-{most}", *path)


def at_least(number: int | None, least: int, *path: str | int) -> None:
    if number is not None and number < least:
        raise Wrong(f"is {number}, must be {least} at least", *path)


def one_of(value: str, known: Iterable[str], *path: str | int) -> None:
    known = tuple(known)
    if value not in known:
        raise Wrong(f"is {shown(value)}, must be {_or(known)}", *path, hint=did_you_mean(value, known))


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def address(text: str, *path: str | int) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        raise Wrong(f"is {shown(text)}, must be an IP address", *path) from None


def unique(values: Iterable[object], *path: str | int, field: tuple[str, ...] = ()) -> None:
    """Of the items of a list at `path`: no value twice, "" apart. `field` leads from the item to the value."""
    seen: dict[object, int] = {}
    for index, value in enumerate(values):
        if value in seen:
            raise Wrong(f"is {shown(value)}, which {dotted((*path, seen[value]))} has too", *path, index, *field)
        if value:
            seen[value] = index
