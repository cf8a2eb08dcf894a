"""Applying retention: what ``core/expiry.py`` finds is let go, model by model, in small transactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard_server.core import expiry, namespaces

if TYPE_CHECKING:
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.history.act import Act
    from steelyard_server.maintenance.storage import Storage


@dataclass(slots=True)
class LetGo:
    """How much retention has let go; see CollectGarbageResponse."""

    deleted_versions: int = 0
    purged_versions: int = 0
    purged_models: int = 0


async def let_go(storage: Storage, act: Act, progress: LetGo, *, dry_run: bool, now: int) -> None:
    """Let go what no rule keeps at *now*; each step makes its own event. A rehearsal only counts.

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
                _add(progress, each.deleted, each.purged, int(each.is_over))
                continue
            while step := await storage.database.write(expiry.let_go, act, model=each.model, now=now):
                _add(progress, step.deleted_versions, step.purged_versions, step.purged_models)
                storage.stop.check()


def _add(progress: LetGo, deleted_versions: int, purged_versions: int, purged_models: int) -> None:
    progress.deleted_versions += deleted_versions
    progress.purged_versions += purged_versions
    progress.purged_models += purged_models
