"""Applying retention: what ``core/expiry.py`` finds is let go, model by model, in small transactions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from steelyard_server.core import expiry, namespaces

if TYPE_CHECKING:
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.history.act import Act
    from steelyard_server.maintenance.storage import Storage


# That a collection names; of each at most `expiry.NAMED_VERSIONS` versions.
NAMED_MODELS = 100


@dataclass(slots=True)
class Expired:
    """Which versions of a model went, by number, as far as they are named; see ExpiredVersions."""

    model: str
    deleted: list[int] = field(default_factory=list)
    purged: list[int] = field(default_factory=list)
    is_purged: bool = False


@dataclass(slots=True)
class LetGo:
    """How much retention has let go; see CollectGarbageResponse."""

    deleted_versions: int = 0
    purged_versions: int = 0
    purged_models: int = 0
    expired: list[Expired] = field(default_factory=list)

    def name(self, model: str, *, deleted: Iterable[int], purged: Iterable[int], is_purged: bool) -> None:
        """Note which versions went, those of one model one after the other."""
        if not self.expired or self.expired[-1].model != model:
            if len(self.expired) == NAMED_MODELS:
                return
            self.expired.append(Expired(model))
        found = self.expired[-1]
        found.is_purged |= is_purged
        for named, numbers in ((found.deleted, deleted), (found.purged, purged)):
            named.extend(numbers)
            del named[expiry.NAMED_VERSIONS :]


async def let_go(storage: Storage, act: Act, progress: LetGo, *, dry_run: bool, now: int) -> None:
    """Let go what no rule keeps at *now*; each step makes its own event. A rehearsal only counts and names.

    Raises:
        Draining: the server shuts down.
        RegistryError: the database failed.
    """
    name, read = "", storage.database.read
    while (space := await read(namespaces.next_with_retention, after_name=name)) is not None:
        name = space.name
        await _let_go_of(space, storage, act, progress, dry_run=dry_run, now=now)


async def _let_go_of(
    space: Namespace, storage: Storage, act: Act, progress: LetGo, *, dry_run: bool, now: int
) -> None:
    after_id = None
    while after_id != 0:
        storage.stop.check()
        due, after_id = await storage.database.read(
            expiry.due, namespace=space, now=now, after_id=after_id or 0
        )
        for each in due:
            if dry_run:
                numbers = await storage.database.read(expiry.name, namespace=space, due=each, now=now)
                _add(progress, each.deleted, each.purged, int(each.is_over))
                progress.name(each.model, deleted=numbers[0], purged=numbers[1], is_purged=each.is_over)
                continue
            while step := await storage.database.write(expiry.let_go, act, model=each.model, now=now):
                _add(progress, step.deleted_versions, step.purged_versions, step.purged_models)
                is_purged = step.purged_models > 0
                progress.name(each.model, deleted=step.deleted, purged=step.purged, is_purged=is_purged)
                storage.stop.check()


def _add(progress: LetGo, deleted_versions: int, purged_versions: int, purged_models: int) -> None:
    progress.deleted_versions += deleted_versions
    progress.purged_versions += purged_versions
    progress.purged_models += purged_models
