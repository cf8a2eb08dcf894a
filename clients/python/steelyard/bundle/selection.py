"""What an export takes: versions by model, each model with the aliases that point to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard.bundle.records import ModelRecord
from steelyard.errors import InvalidArgument
from steelyard.v1 import version_pb2

if TYPE_CHECKING:
    from steelyard.client import Client
    from steelyard.types import Version


@dataclass(slots=True)
class Selection:
    """Versions of one model.

    Args:
        record: the model.
        versions: by number, without their content.
        whole: whether the model itself was asked for.
        deleted_count: versions that are left out because they are deleted.
        revoked_count: those that are left out because they were revoked.
    """

    record: ModelRecord
    versions: dict[int, version_pb2.Version]
    whole: bool = False
    deleted_count: int = 0
    revoked_count: int = 0

    @property
    def ordered(self) -> list[version_pb2.Version]:
        """Return the versions in the order of their numbers."""
        return [self.versions[number] for number in sorted(self.versions)]


def select(refs: Iterable[str | Version], *, client: Client) -> list[Selection]:
    """Find what *refs* name, in the order of the names of the models.

    Raises:
        NotFound: one of them is not there.
        InvalidArgument: there is none.
    """
    found: dict[str, Selection] = {}
    for ref in refs:
        if client.references.selects(ref):
            version = client.get(ref)
            _of(version.model, found, client=client).versions[version.number] = _bare(version)
        else:
            _take_all(_of(str(ref), found, client=client), client=client)
    if not found:
        raise InvalidArgument("Nothing is named to export; name a version, or a model for all its versions.")
    for selection in found.values():
        _take_aliases(selection, client=client)
    return [found[name] for name in sorted(found)]


def _of(model: str, found: dict[str, Selection], *, client: Client) -> Selection:
    message = client.models.get(model).message
    return found.setdefault(message.name, Selection(ModelRecord(message, ()), {}))


def _take_all(selection: Selection, *, client: Client) -> None:
    selection.whole, selection.deleted_count, selection.revoked_count = True, 0, 0
    for version in client.versions.list(selection.record.message.name, show_deleted=True):
        if version.delete_time is not None:
            selection.deleted_count += 1
        elif version.message.HasField("revocation"):
            selection.revoked_count += 1
        else:
            selection.versions[version.number] = _bare(version)


def _take_aliases(selection: Selection, *, client: Client) -> None:
    """Take the aliases that point to what is taken; others may have moved meanwhile."""
    message = selection.record.message
    aliases = tuple(
        alias.message
        for alias in client.aliases.list(message.name)
        if (version := selection.versions.get(alias.number)) and version.digest == alias.digest
    )
    selection.record = ModelRecord(message, aliases)


def _bare(version: Version) -> version_pb2.Version:
    message = version_pb2.Version()
    message.CopyFrom(version.message)
    message.ClearField("content")
    return message
