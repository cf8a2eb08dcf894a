"""Random creates, copies, moves and ends, each compared with the rules in plain Python."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from steelyard_server import errors
from steelyard_server.core import (
    aliases,
    blobs,
    copies,
    deletions,
    model_deletions,
    models,
    namespaces,
    versions,
)
from steelyard_server.core.origins import Origin
from steelyard_server.core.quotas import Quota
from steelyard_server.db.database import open_database
from steelyard_server.history import events
from tests.contracts.ends import add_model, numbers
from tests.contracts.plain import PlainModel, PlainSpace, PlainVersion, Refused
from tests.contracts.registry import BLOB, FRAUD, act, build, found, number
from tests.contracts.stored import require_equal
from tests.databases import empty

NAMES = (FRAUD, "default/churn", "other/fraud")
SMALL = ("sha256:" + hashlib.sha256(b"small").hexdigest(), 5)
BLOBS = {blob[1]: blob for blob in (BLOB, SMALL)}
ALIASES = ("champion", "canary")

spaces = st.sampled_from(["default", "other"])
names = st.sampled_from(NAMES)
aliases_ = st.sampled_from(ALIASES)
values = st.integers(1, 5)
seeds = st.integers(1, 4)
stated = st.sampled_from(["", "1", "2"])


def outcome(expected: Callable[[], Any]) -> tuple[Any, str]:
    """Return what the plain rules answer, and the reason for which they refuse."""
    try:
        return expected(), ""
    except Refused as refused:
        return None, str(refused)


def blob_of(seed: int) -> tuple[str, int]:
    """Return the blob that the content of a seed has."""
    return SMALL if seed > 3 else BLOB


class Registry(RuleBasedStateMachine):
    """A registry with some models beside the same in dictionaries."""

    def __init__(self, location: str | Path) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.database = self.run(open_database(location))
        self.run(found(self.database))
        self.run(self.database.write(namespaces.create, act(), name="other"))
        for name in NAMES[1:]:
            self.run(add_model(self.database, name))
        self.spaces = {"default": PlainSpace(held={BLOB[1]}), "other": PlainSpace()}
        self.plain = {name: PlainModel(self.spaces[name.partition("/")[0]]) for name in NAMES}
        for model in self.plain.values():
            model.space.models.append(model)

    def run(self, wish: Awaitable[Any]) -> Any:
        async def awaited() -> Any:
            return await wish

        return self.runner.run(awaited())

    def both(self, expected: Callable[[], Any], use_case: Any, **arguments: Any) -> None:
        """Do the same to both, and demand the same answer or the same refusal."""
        wanted, reason = outcome(expected)
        if reason:
            before = self.run(self.database.read(events.seen))
            with pytest.raises(errors.RegistryError) as error:
                self.run(self.database.write(use_case, act(), **arguments))
            assert error.value.reason == reason
            assert self.run(self.database.read(events.seen)) == before
            return
        answer = self.run(self.database.write(use_case, act(), **arguments))
        if wanted is not None:
            assert (answer.version.number, answer.created) == wanted

    @initialize(ends=st.lists(st.tuples(values, st.booleans()), max_size=3))
    def begin(self, ends: list[tuple[int, bool]]) -> None:
        """Make versions to which an alias pointed in turn, and end some of them."""
        for seed in (1, 2, 3):
            self.create(FRAUD, seed, str(seed), str(seed))
            self.set_alias(FRAUD, ALIASES[0], seed)
        for value, purged in ends:
            self.delete(FRAUD, value)
            if purged:
                self.purge(FRAUD, value)

    @rule(name=names, seed=seeds, semantic_version=stated, key=stated)
    def create(self, name: str, seed: int, semantic_version: str, key: str) -> None:
        text = f"1.0.{semantic_version}" if semantic_version else ""
        draft = versions.Draft(semantic_version=text, idempotency_key=key)
        wish = PlainVersion(seed, text, key, blob_of(seed)[1])
        create = {"model": name, "built": build(seed, blob=blob_of(seed)), "draft": draft}
        self.both(lambda: self.plain[name].create(wish), versions.create, **create)

    @rule(name=names, seed=seeds, value=st.integers(0, 9), key=stated)
    def import_(self, name: str, seed: int, value: int, key: str) -> None:
        draft = versions.Draft(idempotency_key=key, origin=Origin("steelyard"), number=value)
        create = {"model": name, "built": build(seed, blob=blob_of(seed)), "draft": draft}
        wish = PlainVersion(seed, "", key, blob_of(seed)[1])
        self.both(lambda: self.plain[name].create(wish, kept=value), versions.create, **create)

    @rule(source=names, value=values, name=names, semantic_version=stated)
    def copy(self, source: str, value: int, name: str, semantic_version: str) -> None:
        text = f"1.0.{semantic_version}" if semantic_version else ""

        def expected() -> tuple[int, bool]:
            self.plain[name].require()
            seed = self.plain[source].find(value).seed
            return self.plain[name].create(PlainVersion(seed, text, "", blob_of(seed)[1]), copied=True)

        options = {"source": number(value, model=source), "model": name, "semantic_version": text}
        self.both(expected, copies.copy, **options)

    @rule(space=spaces, size_bytes=st.sampled_from(sorted(BLOBS)))
    def upload(self, space: str, size_bytes: int) -> None:
        _, reason = outcome(lambda: self.spaces[space].hold(size_bytes))
        record = self.database.write(blobs.record, namespace=space, blobs=[BLOBS[size_bytes]])
        if not reason:
            self.run(record)
            return
        with pytest.raises(errors.QuotaExceeded):
            self.run(record)

    @rule(space=spaces, size_bytes=st.sampled_from([0, 5, 7, 12]), versions_count=st.integers(0, 4))
    def set_quota(self, space: str, size_bytes: int, versions_count: int) -> None:
        plain = self.spaces[space]
        plain.quota_bytes, plain.quota_versions = size_bytes, versions_count
        draft = namespaces.Draft(quota=Quota(size_bytes, versions_count))
        self.run(self.database.write(namespaces.modify, act(), name=space, mask=("quota",), draft=draft))

    @rule(name=names, value=values)
    def delete(self, name: str, value: int) -> None:
        self.both(
            lambda: self.plain[name].delete(value), deletions.remove, reference=number(value, model=name)
        )

    @rule(name=names, value=values)
    def undelete(self, name: str, value: int) -> None:
        self.both(
            lambda: self.plain[name].undelete(value), deletions.restore, reference=number(value, model=name)
        )

    @rule(name=names, value=values)
    def purge(self, name: str, value: int) -> None:
        self.both(lambda: self.plain[name].purge(value), deletions.purge, reference=number(value, model=name))

    @rule(name=names, alias=aliases_, value=values)
    def set_alias(self, name: str, alias: str, value: int) -> None:
        reference = number(value, model=name)
        self.both(
            lambda: self.plain[name].set_alias(alias, value), aliases.put, reference=reference, name=alias
        )

    @rule(name=names, alias=aliases_)
    def roll_back(self, name: str, alias: str) -> None:
        self.both(lambda: self.plain[name].roll_back(alias), aliases.rollback, model=name, name=alias)

    @rule(name=names, alias=aliases_)
    def delete_alias(self, name: str, alias: str) -> None:
        self.both(lambda: self.plain[name].delete_alias(alias), aliases.remove, model=name, name=alias)

    @rule()
    def delete_model(self) -> None:
        """Only the second, so that there is always one to do something with."""
        self.both(self.plain[NAMES[1]].remove, model_deletions.remove, name=NAMES[1])

    @rule()
    def undelete_model(self) -> None:
        self.both(self.plain[NAMES[1]].restore, model_deletions.restore, name=NAMES[1])

    @rule()
    def purge_model(self) -> None:
        self.both(self.plain[NAMES[1]].end, model_deletions.purge, name=NAMES[1])

    @invariant()
    def the_same_is_found(self) -> None:
        for name, plain in self.plain.items():
            if plain.deleted or plain.purged:
                continue
            assert self.run(numbers(self.database, model=name)) == plain.live
            assert self.run(numbers(self.database, model=name, show_deleted=True)) == sorted(plain.versions)
            model = self.run(self.database.read(models.get, name=name))
            assert (model.latest_number, model.last_number) == (max(plain.live, default=0), plain.last)
            listed, _ = self.run(self.database.read(aliases.page, model=name))
            assert {alias.name: alias.number for alias in listed} == plain.aliases

    @invariant()
    def what_is_used_is_counted(self) -> None:
        for name, plain in self.spaces.items():
            usage = self.run(self.database.read(namespaces.get, name=name)).usage
            assert (usage.size_bytes, usage.versions_count) == plain.usage

    def teardown(self) -> None:
        self.run(self.database.read(require_equal))
        self.run(self.database.close())
        self.runner.close()


@pytest.mark.timeout(600)
def test_whatever_comes_the_registry_follows_its_rules(location: str | Path, tmp_path: Path) -> None:
    copies_made = itertools.count()

    def machine() -> Registry:
        if isinstance(location, Path):
            fresh = tmp_path / f"registry-{next(copies_made)}.db"
            return Registry(Path(shutil.copy(location, fresh)))
        empty(location)
        return Registry(location)

    chosen = settings(
        max_examples=20,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(machine, settings=chosen)
