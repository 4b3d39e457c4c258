"""A running testbed as an experiment wants it (`emu.experiment.testbed.Testbed`), by its two sockets."""

from __future__ import annotations

import json
import os
import select
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from emu.api import codec, kinds
from emu.api.load import Loaded
from emu.api.objects import KubeObject, key_of
from emu.api.resources import Resource
from emu.cli.attached import Attachment
from emu.cli.client import Client
from emu.errors import EmuError
from emu.experiment import tracejson
from emu.experiment.testbed import Ran
from emu.trace.model import TraceResult

END_S = 5  # for a program that was told to end


class LabClient:
    def __init__(self, client: Client) -> None:
        self._client = client

    def apply(self, loaded: Loaded) -> Sequence[str]:
        places = [loaded.places[key_of(each)] for each in loaded.objects]
        body = {
            "objects": [codec.encode(each) for each in loaded.objects],
            "places": [[place.file, place.line] for place in places],
        }
        answer = self._client.send("POST", "/emu/v1/apply", body)
        done = [f"{each['name']} {each['word']}" for each in answer["applied"]]
        return (*done, *(f"warning: {each}" for each in answer["warnings"]))

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        self._client.send("DELETE", resource.path(namespace, name))

    def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        body = {"spec": {"replicas": replicas}}
        self._client.send("PATCH", f"{resource.path(namespace, name)}/scale", body, "application/merge-patch+json")

    def objects(self, resource: Resource, namespace: str = "", selector: str = "") -> Sequence[KubeObject]:
        listed = self._client.get(resource.path(namespace), {"labelSelector": selector})["items"]
        cls: Any = kinds.BUILT[resource.kind]
        return tuple(codec.decode_json(cls, each) for each in listed)

    def table(
        self, resource: Resource, namespace: str, name: str = "", selector: str = ""
    ) -> Sequence[Mapping[str, str]]:
        query = {"labelSelector": selector, "fieldSelector": f"metadata.name={name}" if name else ""}
        table = self._client.get(resource.path(namespace), query, table=True)
        columns = [each["name"].upper() for each in table["columnDefinitions"]]
        return tuple(dict(zip(columns, map(str, row["cells"]), strict=True)) for row in table["rows"])

    def run(self, where: str, argv: Sequence[str], timeout_s: float) -> Ran:
        request = {"do": "exec", "target": where, "argv": list(argv)}
        with TemporaryFile() as out, TemporaryFile() as err, open(os.devnull) as null:
            attachment = Attachment(self._client, request, (null.fileno(), out.fileno(), err.fileno()))
            in_time = _comes(attachment, timeout_s)
            if not in_time:
                attachment.end()
            status = int(attachment.result() or 0) if in_time or _comes(attachment, END_S) else -1
            out.seek(0)
            err.seek(0)
            texts = (each.read().decode(errors="replace") for each in (out, err))
            return Ran(status if in_time else -1, *texts)

    def trace(
        self, source: str, target: str, proto: str = "", *, size: int | None = None, df: bool = False
    ) -> TraceResult:
        body = {"source": source, "target": target, "proto": proto, "size": size, "df": df}
        return tracejson.trace_result(json.loads(self._client.send("POST", "/emu/v1/trace", body)["json"]))

    def capture(self, selectors: Sequence[str], file: Path) -> Recorded:
        with file.open("wb") as output:
            request = {"do": "capture", "selectors": list(selectors)}
            return Recorded(Attachment(self._client, request, (output.fileno(),)))

    def repair(self) -> Sequence[str]:
        drifts = self._client.send("POST", "/emu/v1/check", {"repair": True})["drifts"]
        return tuple(each["text"] for each in drifts)

    def script(self) -> str:
        return self._client.text("/emu/v1/plan")


class Recorded:
    """A capture under way; armed when this is there. A thread listens for its end."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._armed = threading.Event()
        self._drops: Mapping[str, int] = {}
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._listen, name="capture", daemon=True)
        self._thread.start()
        self._armed.wait()
        self._check()

    def stop(self) -> Mapping[str, int]:
        self._attachment.end()
        self._thread.join()
        self._check()
        return self._drops

    def _listen(self) -> None:
        try:
            self._drops = self._attachment.result(started=lambda _: self._armed.set()) or {}
        except (EmuError, OSError) as error:
            self._error = error
        finally:
            self._armed.set()

    def _check(self) -> None:
        if self._error:
            raise self._error


def _comes(attachment: Attachment, timeout_s: float) -> bool:
    return bool(select.select([attachment], [], [], timeout_s)[0])
