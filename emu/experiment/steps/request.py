"""`request`: HTTP from a Pod or Node by curl, each over a new connection; status, body, and which Pods answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from emu.api.meta import json_name
from emu.api.objects import Pod
from emu.api.wrong import Wrong
from emu.experiment import references, statistics
from emu.experiment.lab import Lab
from emu.experiment.model import Failed, Said
from emu.experiment.world import World

MOST = 1000
_MARK = "\x01"  # parts the answers; no text has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    NAME: ClassVar = "request"
    SHORT: ClassVar = ""
    source: str = json_name("from")
    to: str  # a URL, http where none is said; by labels: app=web:8080/hostname
    times: int = 1
    status: int = 200
    body: tuple[str, ...] = ()  # each is in every answer
    answered_by: str = json_name("answered_by", default="")  # a label selector: no other Pods
    evenly: bool = False  # each of them, in numbers that a fair choice could give
    timeout_s: int = json_name("timeout_s", default=5)  # of each request

    def title(self) -> str:
        times = f" {self.times} times" if self.times > 1 else ""
        return f"request {self.to} from {self.source}{times}"

    def foresee(self, world: World) -> None:
        world.where(self.source, "from")
        world.url(self.to, "to")
        if not 1 <= self.times <= MOST:
            raise Wrong(f"is {self.times}, must be 1-{MOST}", "times")
        if self.evenly and not self.answered_by:
            raise Wrong("needs answered_by", "evenly", sentence=True)
        if self.answered_by:
            world.where(self.answered_by, "answered_by")
        pods = len(references.matching(world.pods, self.answered_by)) if self.evenly else 0
        if self.times < (least := statistics.tries(pods)):
            raise Wrong(f"is {self.times}: for {pods} Pods to be told from chance it must be {least} or more", "times")

    def run(self, lab: Lab) -> Said:
        answers = self._ask(lab)
        for status, body in answers:
            if status != self.status:
                raise Failed(f"status {self.status}", f"status {status}", body)
            for each in self.body:
                if each not in body:
                    raise Failed(f"an answer with {each!r}", "one without", body)
        if not self.answered_by:
            return Said(text=answers[0][1].strip() if len(answers) == 1 else f"{len(answers)} answers")
        return self._answering(references.matching(lab.pods(), self.answered_by), [body for _, body in answers])

    def _ask(self, lab: Lab) -> list[tuple[int, str]]:
        argv = ["curl", "-sS", "--max-time", str(self.timeout_s), "-H", "Connection: close"]
        argv += ["-w", f"{_MARK}%{{http_code}}{_MARK}", *[lab.url(self.to)] * self.times]
        ran = lab.run(lab.where(self.source), argv, self.timeout_s * self.times + 5)
        parts = ran.out.split(_MARK)
        answers = [(int(status), body) for body, status in zip(parts[::2], parts[1::2], strict=False)]
        if ran.status or len(answers) != self.times:
            came = f"{len([status for status, _ in answers if status])} answers" if self.times > 1 else "none"
            raise Failed(f"{self.times} answers" if self.times > 1 else "an answer", came, ran.err.strip())
        return answers

    def _answering(self, pods: Sequence[Pod], bodies: Sequence[str]) -> Said:
        """A Pod is known by its address or its name in the body."""
        counts: Counter[str] = Counter({pod.metadata.name: 0 for pod in pods})
        for body in bodies:
            answering = [pod for pod in pods if names(pod, body)]
            if not answering:
                raise Failed(f"answers of {', '.join(counts)}", "one that names none of them", body)
            counts[answering[0].metadata.name] += 1
        text = "\n".join(f"{count:5} × {name}" for name, count in sorted(counts.items()))
        if self.evenly and (silent := [name for name, count in counts.items() if not count]):
            raise Failed("every one of the Pods to answer", f"nothing from {', '.join(silent)}", text)
        if self.evenly and not statistics.even(list(counts.values())):
            raise Failed("the Pods to answer evenly", "a choice that chance makes once in a million times", text)
        return Said(text=text, numbers={"answering_pods": sum(map(bool, counts.values()))})


def names(pod: Pod, body: str) -> bool:
    words = {pod.status.pod_ip, pod.metadata.name}
    return any(word and not _goes_on(body, at, word) for word in words for at in [body.find(word)] if at >= 0)


def _goes_on(body: str, at: int, word: str) -> bool:
    """10.244.1.2 is not in 10.244.1.23."""
    return body[at + len(word) : at + len(word) + 1].isalnum()
