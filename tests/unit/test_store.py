from __future__ import annotations

import threading
from dataclasses import replace
from itertools import islice

import pytest

from emu.api.objects import (
    Condition,
    Deployment,
    DeploymentSpec,
    LabelSelector,
    ObjectMeta,
    Pod,
    PodSpec,
    PodStatus,
    PodTemplateSpec,
    key_of,
)
from emu.errors import Conflict, Gone
from emu.store import Event, Store

KEY = ("Pod", "default", "a")


def pod(name: str = "a", **status: object) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default"), spec=PodSpec(containers=()), status=PodStatus(**status)
    )


def store(**options: object) -> Store:
    return Store(**{"now": lambda: "2026-01-01T00:00:00Z", **options})


def deployment(replicas: int) -> Deployment:
    template = PodTemplateSpec(spec=PodSpec(containers=()))
    spec = DeploymentSpec(replicas=replicas, selector=LabelSelector(), template=template)
    return Deployment(metadata=ObjectMeta(name="d", namespace="default"), spec=spec)


def test_what_is_written_gets_uid_time_and_version() -> None:
    place = store()
    version = place.write([pod()])
    meta = place.snapshot().objects[KEY].metadata
    assert (meta.resource_version, meta.creation_timestamp) == (str(version), "2026-01-01T00:00:00Z")
    assert len(meta.uid) == 36


def test_the_same_history_gives_the_same_uids_and_a_second_life_another() -> None:
    def lives(seed: int) -> list[str]:
        place = store(seed=seed)
        uids = []
        for _ in range(2):
            place.write([pod()])
            uids.append(place.snapshot().objects[KEY].metadata.uid)
            place.write(deletes=[KEY])
        return uids

    assert lives(0) == lives(0)
    assert len({*lives(0), *lives(1)}) == 4


def test_a_snapshot_never_changes() -> None:
    place = store()
    place.write([pod("a")])
    before = place.snapshot()
    place.write([pod("b")], deletes=[KEY])
    assert set(before.objects) == {KEY}
    with pytest.raises(TypeError):
        before.objects[KEY] = pod()  # type: ignore[index]


def test_writing_what_is_there_is_no_change() -> None:
    place = store()
    version = place.write([pod()])
    assert place.write([pod(), place.snapshot().objects[KEY]]) == version


def test_a_write_against_an_old_version_is_a_conflict_and_changes_nothing() -> None:
    place = store()
    version = place.write([pod()])
    place.write([pod("b")])
    with pytest.raises(Conflict):
        place.write([pod(phase="Running")], expect=version)
    assert place.snapshot().objects[KEY].status.phase == "Pending"
    place.write([pod(phase="Running")], expect=place.snapshot().version)
    assert place.snapshot().objects[KEY].status.phase == "Running"


def test_update_changes_creates_and_deletes_in_one_step() -> None:
    place = store()
    assert place.update(KEY, lambda old: pod() if old is None else old).metadata.uid
    place.update(KEY, lambda old: replace(old, status=PodStatus(phase="Running")))
    assert place.snapshot().objects[KEY].status.phase == "Running"
    assert place.update(KEY, lambda old: None) is None
    assert place.snapshot().objects == {}


def test_the_generation_counts_changes_of_the_spec_alone() -> None:
    place, key = store(), key_of(deployment(1))
    seen = []
    for change in (deployment(1), deployment(2), deployment(2)):
        place.write([change])
        seen.append(place.snapshot().objects[key].metadata.generation)
    scaled = place.snapshot().objects[key]
    place.write([replace(scaled, metadata=replace(scaled.metadata, labels={"x": "y"}))])
    assert [*seen, place.snapshot().objects[key].metadata.generation] == [1, 2, 2, 2]


def test_events_tell_what_happened_with_a_version_each() -> None:
    place = store()
    place.write([pod("a"), pod("b")])
    place.write([pod("a", phase="Running")], deletes=[("Pod", "default", "b")])
    events = list(islice(place.watch(0), 4))
    assert [(each.type, each.object.metadata.name, each.version) for each in events] == [
        ("ADDED", "a", 1),
        ("ADDED", "b", 2),
        ("MODIFIED", "a", 3),
        ("DELETED", "b", 4),
    ]
    assert [each.object.metadata.resource_version for each in events] == ["1", "2", "3", "4"]


def test_a_watch_goes_on_from_where_it_was() -> None:
    place = store()
    place.write([pod("a"), pod("b")])
    assert [each.object.metadata.name for each in place.watch(1, timeout_s=0)] == ["b"]


def test_a_watch_waits_for_what_comes() -> None:
    place, found = store(), []
    waiting = threading.Thread(target=lambda: found.append(next(place.watch(0, timeout_s=10))))
    waiting.start()
    place.write([pod()])
    waiting.join(10)
    assert [each.type for each in found] == ["ADDED"]


def test_closing_the_store_ends_its_watches() -> None:
    place, ended = store(), threading.Event()

    def follow() -> None:
        list(place.watch(0))
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    place.close()
    assert ended.wait(10)


def test_a_watch_from_before_the_history_is_gone() -> None:
    place = store(history=3)
    for number in range(5):
        place.write([pod(f"p{number}")])
    with pytest.raises(Gone):
        place.watch(1)
    assert [each.version for each in place.watch(2, timeout_s=0)] == [3, 4, 5]


def test_a_reader_that_falls_behind_is_gone() -> None:
    place = store(history=3)
    place.write([pod("first")])
    reader = place.watch(0, timeout_s=0)
    next(reader)
    for number in range(5):
        place.write([pod(f"p{number}")])
    with pytest.raises(Gone):
        next(reader)


def test_subscribers_get_every_write_in_order_and_may_write() -> None:
    place, seen = store(), []

    def follow(events: tuple[Event, ...]) -> None:
        seen.extend(each.version for each in events)
        if len(seen) < 4:
            place.write([pod(f"p{len(seen)}")])

    end = place.subscribe(follow)
    place.write([pod()])
    assert seen == [1, 2, 3, 4]
    end()
    place.write([pod("last")])
    assert seen == [1, 2, 3, 4]


def test_a_subscriber_that_fails_keeps_nothing_from_the_others(caplog: pytest.LogCaptureFixture) -> None:
    place, seen = store(), []

    def failing(events: tuple[Event, ...]) -> None:
        raise RuntimeError("mistake")

    place.subscribe(failing)
    place.subscribe(seen.extend)
    assert place.write([pod()]) == 1
    assert len(seen) == 1
    assert "a subscriber of the store failed" in caplog.text


def test_concurrent_updates_lose_nothing() -> None:
    place, versions = store(), []
    place.subscribe(lambda events: versions.extend(each.version for each in events))
    place.write([pod()])

    def add(old: Pod) -> Pod:
        condition = Condition(type=str(len(old.status.conditions)), status="True")
        return replace(old, status=replace(old.status, conditions=(*old.status.conditions, condition)))

    threads = [threading.Thread(target=lambda: [place.update(KEY, add) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(place.snapshot().objects[KEY].status.conditions) == 200
    assert versions == list(range(1, 202))


def test_of_two_writers_with_one_version_one_wins() -> None:
    place, results = store(), []
    barrier = threading.Barrier(2)

    def contend(name: str) -> None:
        barrier.wait(10)
        try:
            place.write([pod(name)], expect=0)
            results.append("written")
        except Conflict:
            results.append("conflict")

    threads = [threading.Thread(target=contend, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["conflict", "written"]
