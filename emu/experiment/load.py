"""An experiment's file → an Experiment. Everything is checked before anything starts: fields by the codec that reads
manifests, and what the steps name against the cluster as each of them will find it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from emu import planners
from emu.api import codec, load, tree
from emu.api.wrong import Wrong, did_you_mean, shown
from emu.errors import EmuError, InputError, Place
from emu.experiment.model import Experiment, Planned, Step
from emu.experiment.steps import STEPS
from emu.experiment.steps.wait_until import WaitUntil
from emu.experiment.world import World

KINDS: Mapping[str, Any] = {each.NAME: each for each in STEPS}
FIELDS = ("name", "about", "topology", "steps")
BESIDE = ("name", "continue")  # what may stand beside a step's kind


def experiment(path: Path, topology: Path | None = None) -> Experiment:
    """On the topology the file names, or on another."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not text"
        raise InputError(f"cannot be read: {why}", place=Place(str(path))) from None
    return parse(text, path, topology)


def parse(text: str, path: Path, topology: Path | None = None) -> Experiment:
    documents = list(tree.documents(text, str(path)))
    if len(documents) != 1:
        raise InputError(f"has {len(documents)} YAML documents, must have one", place=Place(str(path)))
    node = documents[0]
    place = Place(str(path), getattr(node, "line", 0))
    try:
        _outline(node)
        found, manifests = load.testbed(topology or _topology(node, path), planners.check)
        world = World(path, found, manifests)
        steps = tuple(_planned(each, index, path, world) for index, each in enumerate(node["steps"]))
    except Wrong as wrong:
        raise wrong.located(place, node) from None
    return Experiment(
        name=node.get("name") or path.stem,
        about=" ".join((node.get("about") or "").split()),
        file=path,
        topology=found,
        manifests=manifests,
        steps=steps,
        read=world.read,
    )


def _outline(node: Any) -> None:
    if not isinstance(node, dict):
        raise Wrong("an experiment is a mapping of name, about, topology and steps")
    for name in node:
        if name not in FIELDS:
            near = did_you_mean(name, FIELDS)
            raise Wrong(f"is not a field of an experiment{'; ' if near else ''}{near}", name)
    for name in ("name", "about", "topology"):
        if not isinstance(node.get(name, ""), str):
            raise Wrong(f"is {shown(node[name])}, must be a string", name)
    if (name := node.get("name")) and not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise Wrong(f"is {name}, must be of letters, digits, -, _ and .", "name")
    if not isinstance(node.get("steps"), list) or not node["steps"]:
        raise Wrong("must be a list of steps", "steps")


def _topology(node: Mapping[str, Any], path: Path) -> Path:
    """Beside the experiment's file; by default the folder above `experiments/`."""
    found = path.parent / (node.get("topology") or "..")
    if not found.exists():
        raise Wrong(f"is {node.get('topology')}, and there is no such file or folder", "topology")
    return found


def _planned(node: Any, index: int, path: Path, world: World) -> Planned:
    """Whatever is wrong names the step by its number, as a script may have many alike."""
    place = Place(str(path), getattr(node, "line", 0))
    subject = f"step {index + 1}"
    try:
        kind, value, beside = _parts(node)
        subject += f", {kind}"
        step = _step(kind, value, place)
        world.node = value
        try:
            step.foresee(world)
        except Wrong as wrong:
            raise wrong.located(Place(str(path), getattr(value, "line", place.line)), value) from None
    except Wrong as wrong:
        raise wrong.located(place, node, subject) from None
    except InputError as error:
        raise _of_step(error, place, subject) from None
    except EmuError as error:  # a range that is too small …
        raise InputError(error.message, place=place, subject=subject, hint=error.hint) from None
    return Planned(step=step, place=place, title=beside.get("name") or step.title(), go_on=bool(beside.get("continue")))


def _of_step(error: InputError, place: Place, subject: str) -> InputError:
    """What is wrong in another file is told with both places."""
    if error.place and error.place.file != place.file:
        return InputError(error.message, place=place, subject=subject, hint=error.hint)
    return InputError(error.what, place=error.place or place, subject=error.subject or subject, hint=error.hint)


def _parts(node: Any) -> tuple[str, Any, Mapping[str, Any]]:
    """(kind, its value, what stands beside it)."""
    if not isinstance(node, dict):
        raise Wrong(f"is {shown(node)}, must be a mapping with a kind of step", hint=_all_kinds())
    kinds = [name for name in node if name not in BESIDE]
    for name in kinds:
        if name not in KINDS:
            near = did_you_mean(name, (*KINDS, *BESIDE))
            what = f"there is no kind of step {name}{'; ' if near else ''}{near}"
            raise Wrong(what, name, sentence=True, hint=_all_kinds())
    if len(kinds) != 1:
        raise Wrong(f"has {' and '.join(kinds) or 'no kind'}, must have exactly one kind of step", hint=_all_kinds())
    if not isinstance(node.get("name", ""), str):
        raise Wrong(f"is {shown(node['name'])}, must be a string", "name")
    if not isinstance(node.get("continue", False), bool):
        raise Wrong(f"is {shown(node['continue'])}, must be true or false", "continue")
    return kinds[0], node[kinds[0]], node


def _all_kinds() -> str:
    return f"there are {', '.join(KINDS)}"


def _step(kind: str, value: Any, place: Place) -> Step:
    cls = KINDS[kind]
    if cls is WaitUntil:
        return _waiting(value, place)
    node = _written_out(cls, value, place.line)
    step: Step = codec.decode(cls, node, Place(place.file, getattr(node, "line", place.line)))
    return step


def _waiting(value: Any, place: Place) -> Step:
    """`{timeout_s: 5, request: {…}}`."""
    if not isinstance(value, tree.Map):
        what = f"{shown(value)} stands here, must be a mapping: a step, and timeout_s"
        raise Wrong(what, "wait until", sentence=True)
    timeout_s = value.get("timeout_s", WaitUntil.__dataclass_fields__["timeout_s"].default)
    if not isinstance(timeout_s, int) or timeout_s < 1:
        wrong = Wrong(f"is {shown(timeout_s)}, must be a number of seconds", "timeout_s")
        raise wrong.located(Place(place.file, value.line), value)
    kind, inner, _ = _parts({name: each for name, each in value.items() if name != "timeout_s"})
    return WaitUntil(step=_step(kind, inner, Place(place.file, value.line)), timeout_s=timeout_s)


def _written_out(cls: Any, value: Any, line: int) -> Any:
    """Short forms: a plain value for the field that a step is mostly about; one string for a list of them."""
    if not isinstance(value, dict) and value is not None:
        if not cls.SHORT:
            raise Wrong(f"{shown(value)} stands here, must be a mapping", cls.NAME, sentence=True)
        short, value = value, tree.Map({cls.SHORT: value})
        value.line, value.lines = getattr(short, "line", line), {cls.SHORT: getattr(short, "line", line)}
    if not isinstance(value, tree.Map):
        raise Wrong("it is empty", cls.NAME, sentence=True)
    hints, names = get_type_hints(cls), codec.json_names(cls)
    for attribute, name in names.items():
        if hints[attribute] == tuple[str, ...] and isinstance(value.get(name), str):
            listed = tree.Seq([value[name]])
            listed.line, listed.lines = value.lines[name], [value.lines[name]]
            value[name] = listed
    return value
