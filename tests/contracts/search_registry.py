"""A registry full of versions that differ in everything, and the records of what was put into it."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

from steelyard_server.core import aliases, evaluations, manifest, models, versions
from steelyard_server.core.content import (
    Content,
    Dataset,
    File,
    Framework,
    Metric,
    Parameter,
    Parent,
    Schema,
    SchemaField,
    Source,
)
from steelyard_server.core.references import Reference
from steelyard_server.core.versions import Version
from steelyard_server.db.database import Database
from tests.contracts import ends
from tests.contracts.registry import BLOB, act, found, number
from tests.contracts.search_reference import (
    INTEGERS,
    LONG,
    MEASURED,
    METRICS,
    REALS,
    SEMANTIC_VERSIONS,
    TEXTS,
    WORDS,
    Record,
)

MODELS = ("fraud", "churn_model")
AGE, AMOUNT = (SchemaField("age", "int64"),), (SchemaField("amount", "float"),)
WRITES = 55


class Filled:
    """A registry with the records of its versions."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.dice = random.Random(7)  # noqa: S311 - data for tests
        self.records: list[Record] = []
        self.seeds = itertools.count()
        self.unused: dict[str, list[str]] = {}
        # All that was deleted, brought back or purged, in that order.
        self.ends: list[tuple[str, int]] = []

    def __repr__(self) -> str:
        return f"a registry of {len(self.records)} versions"

    def current(self, *, show_deleted: bool = False) -> list[Record]:
        """Return the records that a list has; `latest` is the newest of a model that is not deleted."""
        newest = {record.model: record.number for record in self.records if record.delete_time is None}
        return [
            replace(each, aliases=each.aliases | {"latest"}) if each.number == newest[each.model] else each
            for each in self.records
            if show_deleted or each.delete_time is None
        ]

    async def add(self, *, model: str = "", whole: bool = False) -> None:
        """Create a version that is like no other, but has much in common with many.

        A *whole* one has every metric without a dataset, which a metric alone then means.
        """
        model = model or self.dice.choice(MODELS)
        content, draft = self._content(self._measured(whole=whole)), self._draft(model)
        creator = self.dice.choice(("ada", "grace"))
        outcome = await self.database.write(
            versions.create,
            act(creator),
            model=f"default/{model}",
            built=manifest.build(content),
            draft=draft,
        )
        assert outcome.created
        self.records.append(record_of(outcome.version, content, draft, creator=creator))

    async def set_alias(self) -> None:
        """Point an alias to any version."""
        name, chosen = self.dice.choice(("champion", "challenger")), self._chosen()
        await self.database.write(aliases.put, act(), reference=reference(chosen), name=name)
        for place, each in enumerate(self.records):
            if each.model == chosen.model:
                named = {name} if each.number == chosen.number else set()
                self.records[place] = replace(each, aliases=(each.aliases - {name}) | named)

    async def evaluate(self, chosen: Record | None = None, *, whole: bool = False) -> None:
        """Record an evaluation, which may be older than one that is there."""
        chosen = chosen or self._chosen()
        metrics = [Metric(*key, self.dice.choice(REALS)) for key in self._measured(whole=whole)]
        if not metrics:
            return
        draft = evaluations.Draft(tuple(metrics), evaluate_time=self.dice.randrange(4))
        recorded = await self.database.write(
            evaluations.record, act(), reference=reference(chosen), draft=draft
        )
        found = recorded.evaluation
        newest = dict(chosen.evaluations)
        for each in found.metrics:
            key = (each.name, each.dataset, each.slice)
            if found.evaluate_time >= newest.get(key, (0, 0.0))[0]:
                newest[key] = (found.evaluate_time, each.value)
        self._put(replace(chosen, evaluations=newest))

    async def copy(self) -> None:
        """Copy a version to the other model, unless that has the content already."""
        chosen = self._chosen()
        model = MODELS[1 - MODELS.index(chosen.model)]
        if any((each.model, each.digest) == (model, chosen.digest) for each in self.records):
            return
        version, created, _ = await ends.copy(self.database, reference(chosen), f"default/{model}")
        assert created
        self.records.append(copy_of(chosen, version))

    async def delete(self) -> None:
        """Delete a version that has no alias and is none of the whole ones."""
        chosen = self.dice.choice([each for each in self.current() if each.number > 1 and not each.aliases])
        deleted = await ends.delete(self.database, chosen.number, model=f"default/{chosen.model}")
        self._put(replace(chosen, delete_time=deleted.delete_time))
        self.ends.append(key_of(chosen))

    async def undelete(self) -> None:
        """Bring a deleted version back, if there is one."""
        for chosen in self._deleted():
            await ends.undelete(self.database, chosen.number, model=f"default/{chosen.model}")
            self._put(replace(chosen, delete_time=None))
            self.ends.append(key_of(chosen))

    async def purge(self) -> None:
        """Purge a deleted version, if there is one."""
        for chosen in self._deleted():
            await ends.purge(self.database, chosen.number, model=f"default/{chosen.model}")
            self.records = [each for each in self.records if key_of(each) != key_of(chosen)]
            self.ends.append(key_of(chosen))

    def _chosen(self) -> Record:
        return self.dice.choice([each for each in self.records if each.delete_time is None])

    def _deleted(self) -> list[Record]:
        found = [each for each in self.records if each.delete_time is not None]
        return [self.dice.choice(found)] if found else []

    def _put(self, record: Record) -> None:
        self.records = [record if key_of(each) == key_of(record) else each for each in self.records]

    def _measured(self, *, whole: bool) -> list[tuple[str, str, str]]:
        return [
            (name, *at)
            for name in METRICS
            for at in MEASURED
            if self.dice.random() < 0.4 or (whole and at == ("", ""))
        ]

    def _content(self, measured: list[tuple[str, str, str]]) -> Content:
        dice = self.dice
        paths = dice.choice((("model.onnx",), ("data/a", "model.onnx"), ("weights.bin",)))
        x: Any = dice.choice(dice.choice(([None], [True, False], TEXTS, INTEGERS, REALS)))
        return Content(
            files=tuple(
                File(path, *BLOB, role="weights" if path.startswith("m") else "other") for path in paths
            ),
            parameters=(
                Parameter("seed", next(self.seeds)),
                *([] if x is None else [Parameter("x", x)]),
            ),
            metrics=tuple(Metric(*key, dice.choice(REALS)) for key in measured),
            datasets=tuple(
                Dataset(name, role=name, uri=dice.choice(("", "s3://a")))
                for name in dice.choice(((), ("train",), ("train", "holdout")))
            ),
            parents=tuple(
                Parent(relation, BLOB[0])
                for relation in dice.choice(((), ("fine-tuned-from",), ("quantized-from",)))
            ),
            schema=dice.choice((None, Schema(AGE), Schema(AGE + AMOUNT, AMOUNT), Schema(outputs=AGE))),
            framework=dice.choice((None, Framework("onnx", "1.17"), Framework("sklearn"))),
            source=dice.choice((None, Source(commit="abc"), Source(dirty=True), Source(dirty=False))),
        )

    def _draft(self, model: str) -> versions.Draft:
        dice = self.dice
        left = self.unused.setdefault(model, list(SEMANTIC_VERSIONS))
        team = dice.choice([None, *TEXTS])
        return versions.Draft(
            description=dice.choice(("", "", " ".join(dice.sample(WORDS, 2)), LONG, "Straße, die " + LONG)),
            labels={"tier": "1"} | ({} if team is None else {"team": team}),
            semantic_version=left.pop(dice.randrange(len(left))) if left and dice.random() < 0.6 else "",
        )


def record_of(version: Version, content: Content, draft: versions.Draft, *, creator: str) -> Record:
    return Record(
        number=version.number,
        model=version.model.partition("/")[2],
        digest=version.digest,
        description=draft.description,
        labels=dict(draft.labels or {}),
        metrics={(each.name, each.dataset, each.slice): each.value for each in content.metrics},
        parameters={each.name: each.value for each in content.parameters},
        datasets=tuple({"name": each.name, "role": each.role, "uri": each.uri} for each in content.datasets),
        relations=tuple(parent.relation for parent in content.parents),
        files={file.path: file.role for file in content.files},
        inputs=tuple(each.name for each in content.schema.inputs) if content.schema else (),
        outputs=tuple(each.type for each in content.schema.outputs) if content.schema else (),
        framework=content.framework.name if content.framework else "",
        dirty=content.source.dirty if content.source else None,
        semantic_version=draft.semantic_version,
        creator=creator,
        create_time=version.create_time,
        size_bytes=version.size_bytes,
    )


def copy_of(record: Record, version: Version) -> Record:
    return replace(
        record,
        model=version.model.partition("/")[2],
        number=version.number,
        semantic_version="",
        creator="ada",
        create_time=version.create_time,
        aliases=frozenset(),
        evaluations={},
        origin=f"default/{record.model}:{record.number}",
        origin_time=record.create_time,
        import_time=version.import_time,
    )


def key_of(record: Record) -> tuple[str, int]:
    return record.model, record.number


def reference(record: Record) -> Reference:
    return number(record.number, model=f"default/{record.model}")


async def filled(database: Database) -> Filled:
    """Fill a registry with two models, of each of which the first version is whole, and of all else some."""
    await found(database)
    await database.write(models.create, act(), name="default/churn_model", draft=models.Draft())
    full = Filled(database)
    for model in MODELS:
        await full.add(model=model, whole=True)
        await full.evaluate(full.records[-1], whole=True)
    for _ in range(WRITES // len(SOME)):
        for some in SOME:
            await some(full)
    return full


SOME = (
    Filled.add, Filled.add, Filled.set_alias, Filled.add, Filled.evaluate, Filled.add, Filled.copy,
    Filled.evaluate, Filled.delete, Filled.evaluate, Filled.add,
)  # fmt: skip
