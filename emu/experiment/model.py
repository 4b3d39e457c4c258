"""An experiment and what came of it: values. Sweeps and repeats are functions from one Experiment to several, and from
several Results to one: nothing here knows how often it is run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from emu.api.load import Loaded
from emu.api.topology import Topology
from emu.errors import Place
from emu.trace.model import TraceResult

if TYPE_CHECKING:
    from emu.experiment.lab import Lab
    from emu.experiment.world import World


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"  # this machine lacks what the step needs
    NOT_RUN = "not run"  # an earlier step has failed


class Failed(Exception):
    """What a step raises: what was expected, what was there instead, and more for who wants to know why."""

    def __init__(self, expected: str, got: str, more: str = "") -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got, self.more = expected, got, more


class Skipped(Exception):
    """The machine cannot do the step; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a step that went well has to tell. `numbers`: measurements, their units in their names."""

    text: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)


class Step(Protocol):
    """A step's class is what the codec decodes; a file and a name in `steps.STEPS` each. `SHORT` is the field that a
    plain value stands for ("": a mapping must be given)."""

    NAME: ClassVar[str]
    SHORT: ClassVar[str]

    def title(self) -> str: ...

    def foresee(self, world: World) -> None:
        """Before anything starts: refuse what cannot be (`Wrong`, with the field), and tell `world` what changes."""
        ...

    def run(self, lab: Lab) -> Said:
        """Raises Failed, Skipped, EmuError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One step of a script. `go_on`: the steps after it run even if it fails."""

    step: Step
    place: Place
    title: str
    go_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    name: str
    about: str
    file: Path
    topology: Topology
    manifests: Loaded
    steps: tuple[Planned, ...]
    read: Mapping[object, Loaded] = field(default_factory=dict, repr=False)  # what apply steps apply


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    title: str
    kind: str
    place: str
    outcome: Outcome
    seconds: float = 0.0
    expected: str = ""
    got: str = ""
    text: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    paths: tuple[TraceResult, ...] = ()
    commands: tuple[str, ...] = ()  # what the step did inside the lab, one can paste it


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    experiment: str
    about: str
    topology: str
    started: str  # RFC 3339
    seconds: float
    steps: tuple[StepResult, ...]
    captures: tuple[str, ...] = ()  # file names in the run's folder

    @property
    def ok(self) -> bool:
        return all(each.outcome in (Outcome.PASSED, Outcome.SKIPPED) for each in self.steps)


@dataclass(frozen=True, slots=True)
class StepEvent:
    """For listeners: a step starts (`result` None), or has ended. `index` from 0."""

    index: int
    total: int
    title: str
    result: StepResult | None = None


Listener = Callable[[StepEvent], None]
