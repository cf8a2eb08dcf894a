"""Ancestors: what versions were made from, followed by digest through the versions of a namespace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import bindparam, case, select

from steelyard_server.core import access, manifest, names, roles
from steelyard_server.db import tables
from steelyard_server.db.statements import any_of
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from steelyard_server.core.content import Parent
    from steelyard_server.core.models import Model
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.caller import Caller

_V, _M = tables.versions.c, tables.models.c
# By the index of model and digest, once for each model: an index by digest alone would slow down each create.
_FIND = (
    select(_V.digest, _V.number, _V.summary, _M.name)
    .join(tables.models, _M.id == _V.model_id)
    .where(any_of(_V.digest, "digests"), _M.namespace_id == bindparam("namespace"))
    # A deleted one still tells what it was made from, but is named only where no other is.
    .order_by(case((_V.delete_time.is_(None) & _M.delete_time.is_(None), 0), else_=1), _V.id)
)


@dataclass(frozen=True, slots=True)
class SharedAncestor:
    """An ancestor of at least two versions; `descendants` are the places of these among those compared."""

    digest: str
    uri: str
    descendants: tuple[int, ...]


@dataclass(slots=True)
class _Family:
    """What is known of who was made from what.

    Attributes:
        parents: by the digest of each version that was looked for, also of those not found.
        places: `namespace/model:number` by digest.
    """

    parents: dict[str, tuple[Parent, ...]]
    places: dict[str, str]

    def unknown(self, children: Iterable[str]) -> set[str]:
        """Return the digests of parents of *children* that were not looked for."""
        parents = (parent for child in children for parent in self.parents[child])
        return {parent.digest for parent in parents if parent.digest} - self.parents.keys()


def shared(
    tx: Transaction, versions: Sequence[Version], *, space: Model, caller: Caller
) -> list[SharedAncestor]:
    """Return the ancestors that at least two of *versions* have or are, nearest first.

    The walk goes ``Limits.compared_generations_count`` generations back and looks at
    ``Limits.compared_ancestors_count`` versions at most.

    Args:
        space: any model of the namespace whose versions are looked at; those of others stay unseen.
        caller: whose models that they may not read stay unseen too.
    """
    family = _Family(
        {version.digest: version.content.parents for version in versions},
        {version.digest: f"{version.model}:{version.number}" for version in versions},
    )
    readable = access.models_of(caller, roles.READ, namespace=space.namespace)
    _look(tx, family, family.unknown(family.parents), space=space, readable=readable)
    distances = [_distances(version.digest, family=family) for version in versions]
    found: dict[tuple[str, str], list[int]] = {}
    for place, reached in enumerate(distances):
        for key in reached:
            found.setdefault(key, []).append(place)
    ranked = []
    for (digest, uri), places in found.items():
        farthest = max(distances[place][digest, uri] for place in places)
        # What all of them are themselves, copies of one content, is no ancestor.
        if len(places) > 1 and farthest > 0:
            where = family.places.get(digest) or uri or _named(digest, family=family)
            ranked.append((farthest, digest, where, tuple(places)))
    return [SharedAncestor(digest, uri, places) for _, digest, uri, places in sorted(ranked)]


def _look(
    tx: Transaction,
    family: _Family,
    wanted: set[str],
    *,
    space: Model,
    readable: tuple[str, ...] | None,
) -> None:
    """Look for the versions with the digests *wanted* and for their ancestors, a generation a query."""
    room = LIMITS.compared_ancestors_count
    for _ in range(LIMITS.compared_generations_count):
        asked = sorted(wanted)[:room]
        if not asked:
            return
        room -= len(asked)
        family.parents.update(dict.fromkeys(asked, ()))
        for row in tx.all(_FIND, digests=asked, namespace=space.namespace_id):
            # Copies of one content have one digest and one list of parents.
            seen = readable is None or names.model_key(row.name) in readable
            if seen and row.digest not in family.places:
                family.places[row.digest] = f"{space.namespace}/{row.name}:{row.number}"
                members = orjson.loads(row.summary).get("parents", ())
                family.parents[row.digest] = manifest.parse_parents(members)
        wanted = family.unknown(asked)


def _distances(digest: str, *, family: _Family) -> dict[tuple[str, str], int]:
    """Return how many generations back each ancestor lies; the version itself lies 0 back.

    An ancestor is its digest, or its address when that is all that is known.
    """
    reached, generation, distance = {(digest, ""): 0}, [digest], 0
    while generation:
        distance += 1
        before, generation = generation, []
        for child in before:
            for parent in family.parents.get(child, ()):
                key = (parent.digest, "" if parent.digest else parent.uri)
                if key not in reached:
                    reached[key] = distance
                    generation.append(parent.digest)
    return reached


def _named(digest: str, *, family: _Family) -> str:
    """Return what a parent entry says of where *digest* is."""
    entries = (parent for parents in family.parents.values() for parent in parents)
    return min((parent.uri for parent in entries if parent.digest == digest and parent.uri), default="")
