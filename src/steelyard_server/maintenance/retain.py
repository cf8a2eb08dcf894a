"""Applying retention: what ``core/expiry.py`` finds is let go, model by model, in small transactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from steelyard_server.core import expiry, namespaces

if TYPE_CHECKING:
    from steelyard_server.core.expiry import Step
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.history.act import Act
    from steelyard_server.maintenance.storage import Storage


# That a collection names; of each at most `expiry.NAMED_VERSIONS` versions.
NAMED_MODELS = 100


@dataclass(slots=True)
class Expired:
    """Which versions of a model went, as far as they are named, and how many; see ExpiredVersions."""

    model: str
    deleted: list[int] = field(default_factory=list)
    purged: list[int] = field(default_factory=list)
    deleted_versions: int = 0
    purged_versions: int = 0
    is_purged: bool = False

    def add(self, more: Expired) -> None:
        """Add what went of the same model after it."""
        self.deleted_versions += more.deleted_versions
        self.purged_versions += more.purged_versions
        self.is_purged |= more.is_purged
        for named, numbers in ((self.deleted, more.deleted), (self.purged, more.purged)):
            named.extend(numbers)
            del named[expiry.NAMED_VERSIONS :]


@dataclass(slots=True)
class LetGo:
    """How much retention has let go; see CollectGarbageResponse."""

    deleted_versions: int = 0
    purged_versions: int = 0
    purged_models: int = 0
    expired_models: int = 0
    expired: list[Expired] = field(default_factory=list)
    newest: Expired = field(default_factory=lambda: Expired(""))

    def add(self, went: Expired) -> None:
        """Count what went, and name it if there is room; what goes of one model comes one after the other."""
        self.deleted_versions += went.deleted_versions
        self.purged_versions += went.purged_versions
        self.purged_models += went.is_purged
        if went.model != self.newest.model:
            self.newest = Expired(went.model)
            self.expired_models += 1
            if self.expired_models <= NAMED_MODELS:
                self.expired.append(self.newest)
        self.newest.add(went)


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
                named = await storage.database.read(expiry.name, namespace=space, due=each, now=now)
                progress.add(Expired(each.model, *named, each.deleted, each.purged, is_purged=each.is_over))
                continue
            while step := await storage.database.write(expiry.let_go, act, model=each.model, now=now):
                progress.add(_expired(step, model=each.model))
                storage.stop.check()


def _expired(step: Step, *, model: str) -> Expired:
    named = list(step.deleted), list(step.purged)
    counts = step.deleted_versions, step.purged_versions
    return Expired(model, *named, *counts, is_purged=step.purged_models > 0)
