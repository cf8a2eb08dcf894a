"""A registry full of versions that differ in everything, and the records of what was put into it."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field, replace
from typing import Any

from steelyard_server.core import aliases, manifest, models, versions
from steelyard_server.core.content import (
    Content,
    Dataset,
    File,
    Framework,
    Metric,
    Parameter,
    Parent,
    Source,
)
from steelyard_server.core.versions import Version
from steelyard_server.db.database import Database
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
VERSIONS = 24


@dataclass
class Filled:
    """A registry with the records of its versions."""

    database: Database
    dice: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311 - data for tests
    records: list[Record] = field(default_factory=list)
    seeds: Any = field(default_factory=itertools.count)
    unused: dict[str, list[str]] = field(default_factory=dict)

    def current(self) -> list[Record]:
        """Return all records; the newest of each model is what `latest` means."""
        newest = {record.model: record.number for record in self.records}
        return [
            replace(each, aliases=each.aliases | {"latest"}) if each.number == newest[each.model] else each
            for each in self.records
        ]

    async def add(self, *, aliased: bool = False) -> None:
        """Create a version that is like no other, but has much in common with many."""
        model = self.dice.choice(MODELS)
        content, draft = self._content(), self._draft(model)
        creator = self.dice.choice(("ada", "grace"))
        version, new, _ = await self.database.write(
            versions.create,
            act(creator),
            model=f"default/{model}",
            built=manifest.build(content),
            draft=draft,
        )
        assert new
        self.records.append(record_of(version, content, draft, creator=creator))
        if aliased:
            await self._set_alias(self.dice.choice(("champion", "challenger")))

    async def _set_alias(self, name: str) -> None:
        chosen = self.dice.choice(self.records)
        reference = number(chosen.number, model=f"default/{chosen.model}")
        await self.database.write(aliases.put, act(), reference=reference, name=name)
        for place, each in enumerate(self.records):
            if each.model == chosen.model:
                named = {name} if each.number == chosen.number else set()
                self.records[place] = replace(each, aliases=(each.aliases - {name}) | named)

    def _content(self) -> Content:
        dice = self.dice
        paths = dice.choice((("model.onnx",), ("data/a", "model.onnx"), ("weights.bin",)))
        measured = [(name, *at) for name in METRICS for at in MEASURED if dice.random() < 0.4]
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
        framework=content.framework.name if content.framework else "",
        dirty=content.source.dirty if content.source else None,
        semantic_version=draft.semantic_version,
        creator=creator,
        create_time=version.create_time,
        size_bytes=version.size_bytes,
    )


async def filled(database: Database) -> Filled:
    """Fill a registry with two models, and give the metrics without a dataset to one version of each."""
    await found(database)
    await database.write(models.create, act(), name="default/churn_model", draft=models.Draft())
    full = Filled(database)
    for place in range(VERSIONS):
        await full.add(aliased=place % 4 == 0)
    return full
