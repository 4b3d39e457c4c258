"""How CNI plugins are called: environment, configuration on stdin, result or error on stdout. Which namespaces the
programs run in is the caller's matter.

Source: containernetworking/cni SPEC.md 1.1.0, libcni/api.go."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emu.errors import KernelError, PluginError
from emu.kernel.process import Completed
from emu.plan.attachment import Attachment, PluginList

TIMEOUT_S = 60.0
WITH_STATUS = "1.1.0"  # the first version that has STATUS and GC
WITH_CHECK = ("0.4.0", "1.0.0", "1.1.0")
VALID = "cni.dev/valid-attachments"
TRY_AGAIN_LATER = 11

#: Who must act, by the codes the specification reserves.
HINTS = {
    1: "give the conflist a cniVersion that the plugin knows: emu exec node/NODE -- env CNI_COMMAND=VERSION PLUGIN",
    2: "the plugin does not take a field of its configuration",
    3: "the container is not known to the plugin",
    4: "an environment variable that the plugin is called with is not as it wants it",
    5: "the plugin could not read or write something it needs",
    6: "the plugin could not read its configuration: compare the conflist with the plugin's documentation",
    7: "the plugin does not take its configuration: compare the conflist with the plugin's documentation",
    11: "the plugin asks to be called again later",
    50: "the plugin is not available: what it needs, often a daemon, is not there",
    51: "the plugin is not available, and containers there may have limited connectivity",
}

Result = dict[str, Any]
#: Runs a program with a text on stdin and an environment, to its end.
Run = Callable[[Sequence[str], str, Mapping[str, str]], Completed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One Node's plugins. `environment`: what they find beside CNI's own variables, above all PATH."""

    run: Run
    environment: Mapping[str, str]

    def version(self, network: PluginList) -> None:
        """Raises PluginError for a plugin that does not speak the list's version."""
        for plugin in _plugins(network):
            config = {"cniVersion": network.version}
            answer = self.call(plugin["type"], network.paths, config, {"CNI_COMMAND": "VERSION"}, "VERSION")
            known = answer.get("supportedVersions", [])
            if network.version not in known:
                what = f"CNI plugin {plugin['type']} does not speak {network.version}, the conflist's cniVersion"
                raise PluginError(what, hint=f"it speaks {', '.join(map(str, known))}", code=1)

    def status(self, network: PluginList, node: str) -> None:
        """Raises PluginError when a plugin cannot serve ADD."""
        for plugin in _plugins(network) if network.version == WITH_STATUS else ():
            self.call(plugin["type"], network.paths, _config(network, plugin), _env("STATUS"), f"STATUS on {node}")

    def add(self, attachment: Attachment, netns: str) -> Result:
        """In the order of the list, each with the result of the one before. Raises PluginError at the first that
        fails: DEL is then due."""
        result: Result | None = None
        for plugin in _plugins(attachment.network):
            result = self._attached("ADD", plugin, attachment, netns, result)
        assert result is not None
        return result

    def delete(self, attachment: Attachment, netns: str, result: Result | None) -> list[PluginError]:
        """In reverse order with the final result of ADD, if there was one. What fails is told, and the rest done."""
        errors = []
        for plugin in reversed(list(_plugins(attachment.network))):
            try:
                self._attached("DEL", plugin, attachment, netns, result)
            except PluginError as error:
                errors.append(error)
        return errors

    def check(self, attachment: Attachment, netns: str, result: Result) -> None:
        """Raises PluginError when something is not as the result says."""
        network = attachment.network
        for plugin in _plugins(network) if network.check and network.version in WITH_CHECK else ():
            self._attached("CHECK", plugin, attachment, netns, result)

    def gc(self, network: PluginList, node: str, valid: Iterable[Attachment]) -> list[PluginError]:
        """What is not of these attachments may be released. All plugins are asked, whatever one says."""
        if not (network.gc and network.version == WITH_STATUS):
            return []
        listed = [{"containerID": each.container_id, "ifname": each.ifname} for each in valid]
        errors = []
        for plugin in _plugins(network):
            config = _config(network, plugin, **{VALID: listed})
            try:
                self.call(plugin["type"], network.paths, config, _env("GC"), f"GC on {node}")
            except PluginError as error:
                errors.append(error)
        return errors

    def _attached(
        self, command: str, plugin: Mapping[str, Any], attachment: Attachment, netns: str, previous: Result | None
    ) -> Result:
        network = attachment.network
        more: dict[str, Any] = {"prevResult": previous} if previous is not None else {}
        if arguments := _runtime(plugin, attachment):
            more["runtimeConfig"] = arguments
        env = _env(
            command,
            CNI_CONTAINERID=attachment.container_id,
            CNI_NETNS=netns,
            CNI_IFNAME=attachment.ifname,
            CNI_ARGS=";".join(f"{key}={value}" for key, value in attachment.args),
        )
        about = f"{command} for Pod {attachment.pod}"
        answer = self.call(plugin["type"], network.paths, _config(network, plugin, **more), env, about)
        if command == "ADD" and not answer:
            raise PluginError(f"CNI plugin {plugin['type']} ({about}): it succeeded without a result")
        return answer

    def call(
        self, kind: str, paths: Sequence[str], config: Mapping[str, Any], env: Mapping[str, str], about: str
    ) -> Result:
        """One plugin, once; {} when it says nothing. Raises PluginError with what it says of its failure."""
        program = find(kind, paths)
        path = {"CNI_PATH": ":".join(paths)}
        try:
            done = self.run([program], json.dumps(config), {**self.environment, **path, **env})
        except KernelError as error:  # it cannot be started, or does not end
            raise PluginError(f"CNI plugin {kind} ({about}): {error.message}") from error
        if done.code:
            raise _failure(f"CNI plugin {kind} ({about})", done)
        if not done.stdout.strip():
            return {}
        answer = _json(done.stdout)
        if answer is None:
            said = done.stdout.strip().splitlines()[0]
            raise PluginError(f"CNI plugin {kind} ({about}): its result is not JSON: {said}", code=6)
        return answer


def find(kind: str, paths: Iterable[str]) -> str:
    for directory in paths:
        if os.access(program := f"{directory}/{kind}", os.X_OK):
            return program
    raise PluginError(f"CNI plugin {kind} is not in {' or '.join(paths)}", hint="cni.binDir names the folder")


def addresses(result: Result) -> Iterator[str]:
    """Those of the result, without their prefixes. Source: SPEC.md, "Success"."""
    for each in result.get("ips") or ():
        yield str(each["address"]).partition("/")[0]


def _plugins(network: PluginList) -> Iterator[Mapping[str, Any]]:
    return map(json.loads, network.plugins)


def _env(command: str, **more: str) -> dict[str, str]:
    return {"CNI_COMMAND": command, **more}


def _config(network: PluginList, plugin: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The plugin's own object, without what is between the list and the runtime."""
    own = {key: value for key, value in plugin.items() if key != "capabilities"}
    return {**own, "name": network.name, "cniVersion": network.version, **more}


def _runtime(plugin: Mapping[str, Any], attachment: Attachment) -> dict[str, Any]:
    """Of what the runtime can give, that which the plugin asks for."""
    asked = plugin.get("capabilities") or {}
    return {name: json.loads(text) for name, text in attachment.capabilities if asked.get(name) is True}


def _failure(who: str, done: Completed) -> PluginError:
    """In the plugin's own words, if it has any."""
    answer = _json(done.stdout) or {}
    code = answer.get("code", 0) if isinstance(answer.get("code"), int) else 0
    said = [str(answer[key]) for key in ("msg", "details") if answer.get(key)]
    if not said:
        said = [(done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()[-1]]
    number = f" (code {code})" if code else f" (exit status {done.code})"
    return PluginError(f"{who}: {': '.join(said)}{number}", hint=HINTS.get(code, ""), code=code)


def _json(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
