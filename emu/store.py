"""The one place all writes enter: versioned, watchable objects.

Every change of an object has a version of its own, which is its resourceVersion; a write of several objects is one
step for readers. Objects are values and the mapping is copied on write, so a snapshot costs nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from emu import names
from emu.api.objects import DaemonSet, Deployment, Key, KubeObject, ObjectMeta, Objects, ReplicaSet, key_of
from emu.errors import Conflict, Gone

log = logging.getLogger(__name__)

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
HISTORY = 10_000  # events kept for watches; one change of 1,000 Pods must not outrun a watcher
WITH_GENERATION = (Deployment, ReplicaSet, DaemonSet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`object` of a DELETED event is the last state, with the version of its deletion."""

    type: str
    object: KubeObject
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    objects: Objects
    version: int


Callback = Callable[[tuple[Event, ...]], None]


def utc_now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Store:
    """Thread-safe. What is written gets uid, creation time, generation and resourceVersion; a write that changes
    nothing is not a change. `seed` and the history of a name decide its uid: the second Pod of a name has another."""

    def __init__(self, seed: int = 0, *, now: Callable[[], str] = utc_now, history: int = HISTORY) -> None:
        self._seed, self._now = seed, now
        self._changed = threading.Condition()
        self._objects: Mapping[Key, KubeObject] = MappingProxyType({})
        self._version = 0
        self._events: deque[Event] = deque(maxlen=history)
        self._lives: Counter[Key] = Counter()  # how often an object of this name was deleted
        self._callbacks: list[Callback] = []
        self._undelivered: deque[tuple[Event, ...]] = deque()
        self._delivering = False
        self._closed = False

    def snapshot(self) -> Snapshot:
        with self._changed:
            return Snapshot(objects=self._objects, version=self._version)

    def write(self, puts: Iterable[KubeObject] = (), deletes: Iterable[Key] = (), expect: int | None = None) -> int:
        """Returns the version after it. With `expect`, raises Conflict unless that is still the version now."""
        with self._changed:
            if expect is not None and expect != self._version:
                raise Conflict(
                    f"the objects are at version {self._version}, not {expect}: someone else wrote first",
                    hint="read again and repeat the change",
                )
            self._write(tuple(puts), tuple(deletes))
            version = self._version
        self._deliver()
        return version

    def update(self, key: Key, change: Callable[[Any], KubeObject | None]) -> KubeObject | None:
        """Read, change and write one object in one step. `change` gets None for a missing object, and what it returns
        is written; None deletes. It must not touch the store. Returns what is stored then."""
        with self._changed:
            new = change(self._objects.get(key))
            self._write(() if new is None else (new,), (key,) if new is None else ())
            stored = self._objects.get(key)
        self._deliver()
        return stored

    def watch(self, since: int, *, timeout_s: float | None = None) -> Iterator[Event]:
        """Events after version `since`, as they come, until `timeout_s` have passed or the store is closed. Raises
        Gone when they are no longer kept, at once or when the reader falls behind."""
        with self._changed:
            self._check_kept(since)
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        return self._follow(since, deadline)

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """`callback` gets each write's events, in order, outside the lock: it may write. Returns how to end it."""
        with self._changed:
            self._callbacks.append(callback)

        def unsubscribe() -> None:
            with self._changed:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return unsubscribe

    def close(self) -> None:
        """Ends all watches."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _write(self, puts: tuple[KubeObject, ...], deletes: tuple[Key, ...]) -> None:
        objects = dict(self._objects)
        events = [*self._put(objects, puts), *self._delete(objects, deletes)]
        if events:
            self._objects = MappingProxyType(objects)
            self._events.extend(events)
            self._undelivered.append(tuple(events))
            self._changed.notify_all()

    def _put(self, objects: dict[Key, KubeObject], puts: tuple[KubeObject, ...]) -> Iterator[Event]:
        for obj in puts:
            key = key_of(obj)
            old = objects.get(key)
            if old is not None and old.metadata.uid and obj.metadata.uid not in ("", old.metadata.uid):
                yield from self._delete(objects, (key,))
                old = None
            stamped = self._stamped(obj, old)
            if stamped is old:
                continue
            objects[key] = stamped
            yield Event(type=MODIFIED if old else ADDED, object=stamped, version=self._version)

    def uid(self, key: Key) -> str:
        """Of the next object of this name: each that was there had another."""
        with self._changed:
            living = self._objects.get(key)
            uid = self._uid(key)
            if living is not None and living.metadata.uid == uid:
                uid = names.uid(self._seed, *key, self._lives[key] + 1)
        return uid

    def _delete(self, objects: dict[Key, KubeObject], deletes: tuple[Key, ...]) -> Iterator[Event]:
        for key in deletes:
            if (old := objects.pop(key, None)) is None:
                continue
            self._version += 1
            self._lives[key] += 1
            last = replace(old, metadata=replace(old.metadata, resource_version=str(self._version)))
            yield Event(type=DELETED, object=last, version=self._version)

    def _stamped(self, obj: KubeObject, old: KubeObject | None) -> KubeObject:
        """`old` itself if nothing but its version differs."""
        meta = self._stamped_meta(obj, old)
        if old is not None and meta == old.metadata and replace(obj, metadata=old.metadata) == old:
            return old
        self._version += 1
        return replace(obj, metadata=replace(meta, resource_version=str(self._version)))

    def _stamped_meta(self, obj: KubeObject, old: KubeObject | None) -> ObjectMeta:
        meta, before = obj.metadata, old.metadata if old else ObjectMeta()
        generation = max(meta.generation, before.generation, int(isinstance(obj, WITH_GENERATION)))
        if old is not None and isinstance(obj, WITH_GENERATION) and generation == before.generation:
            generation += obj.spec != old.spec  # type: ignore[union-attr]
        return replace(
            meta,
            uid=meta.uid or before.uid or self._uid(key_of(obj)),
            creation_timestamp=meta.creation_timestamp or before.creation_timestamp or self._now(),
            generation=generation,
            resource_version=before.resource_version,
        )

    def _uid(self, key: Key) -> str:
        lives = self._lives[key]
        return names.uid(self._seed, *key, lives) if lives else names.uid(self._seed, *key)

    def _check_kept(self, since: int) -> None:
        oldest = self._events[0].version if self._events else self._version + 1
        if since < oldest - 1:
            raise Gone(f"too old resource version: {since} ({oldest - 1})", hint="list again and watch from there")

    def _follow(self, since: int, deadline: float | None) -> Iterator[Event]:
        while True:
            with self._changed:
                while self._version <= since and not self._closed:
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return
                    self._changed.wait(left)
                if self._version <= since:
                    return
                self._check_kept(since)
                first = self._events[0].version
                events = [self._events[index] for index in range(since + 1 - first, len(self._events))]
            yield from events
            since = events[-1].version

    def _deliver(self) -> None:
        """Hands undelivered events to the callbacks, one thread at a time, so that all see them in order; whoever
        finds another thread at it leaves its own to it."""
        while True:
            with self._changed:
                if self._delivering or not self._undelivered:
                    return
                self._delivering = True
                events, callbacks = self._undelivered.popleft(), tuple(self._callbacks)
            try:
                for callback in callbacks:
                    _call(callback, events)
            finally:
                with self._changed:
                    self._delivering = False


def _call(callback: Callback, events: tuple[Event, ...]) -> None:
    """One subscriber's mistake must not keep the events from the others, nor fail the write that was made."""
    try:
        callback(events)
    except Exception:
        log.exception("a subscriber of the store failed")
