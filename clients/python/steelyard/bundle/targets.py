"""Where the models of a bundle go, what is there already, and whether there is room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from steelyard.bundle.records import About, ModelRecord, VersionRecord
from steelyard.errors import InvalidArgument, SteelyardError
from steelyard.reasons import ModelNotFound, NamespaceNotFound, QuotaExceeded
from steelyard.v1 import evaluation_pb2, model_pb2, version_pb2

if TYPE_CHECKING:
    from steelyard.bundle.contents import Contents
    from steelyard.client import Client
    from steelyard.types import Model, Namespace

_KEPT = ("description", "labels", "owners", "metric_directions")


@dataclass(slots=True)
class Target:
    """A model that gets versions of a bundle.

    Args:
        record: the model in the bundle.
        name: of the model here.
        exists: whether it was there before.
        here: its versions, deleted ones included, by digest.
        numbers: of versions here, by their numbers in the bundle.
        recorded: for each evaluation whether it is new here.
        left: what is other here and was left as it is, in words.
    """

    record: ModelRecord
    name: str
    exists: bool
    here: dict[str, version_pb2.Version]
    numbers: dict[int, int] = field(default_factory=dict)
    created_count: int = 0
    recorded: list[bool] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    changed_words_count: int = 0

    @property
    def namespace(self) -> str:
        """Return the namespace here."""
        return self.name.partition("/")[0]

    def has(self, record: VersionRecord, *, renumber: bool) -> bool:
        """Return whether the model has a version as it is in the bundle, and note its number."""
        wanted = record.message
        found = self.here.get(wanted.digest)
        if found is None or found.HasField("delete_time"):
            return False
        if found.number != wanted.number and not renumber:
            return False
        if any(
            wish and wish != stands
            for wish, stands in (
                (wanted.semantic_version, found.semantic_version),
                (wanted.idempotency_key, found.idempotency_key),
            )
        ):
            return False
        if wanted.number not in self.numbers:
            same_words = (wanted.description, wanted.labels) == (found.description, found.labels)
            self.changed_words_count += not same_words
        self.numbers[wanted.number] = found.number
        return True

    def halted(self, error: SteelyardError, *, at: str) -> SteelyardError:
        """Return an error of the server, and where in the bundle it came and what is here already."""
        return said(
            error,
            f"{at} of {self.name}: {error.message} So far {len(self.numbers)} of its versions are there; "
            "the same import goes on from there.",
        )


def find(contents: Contents, *, into: str, client: Client) -> list[Target]:
    """Find where the models of a bundle go, and what is there.

    Raises:
        InvalidArgument: *into* does not fit what is in the bundle.
        ModelDeleted: a model is there and deleted.
    """
    names = _names([record.message.name for record in contents.models], into=into, client=client)
    return [_target(record, names[record.message.name], client=client) for record in contents.models]


def _names(sources: list[str], *, into: str, client: Client) -> Mapping[str, str]:
    """Return the names that models get here, by those that they have in the bundle."""
    if not into:
        return {name: name for name in sources}
    if into.endswith("/"):
        names = {name: into + name.partition("/")[2] for name in sources}
        if len(set(names.values())) < len(names):
            raise InvalidArgument(f"Two models of the bundle have the same name; both cannot go into {into}.")
        return names
    if len(sources) > 1:
        raise InvalidArgument(
            f"The bundle has {len(sources)} models; name a namespace to import them into, like {into}/."
        )
    return {sources[0]: client.references.model(into)}


def _target(record: ModelRecord, name: str, *, client: Client) -> Target:
    try:
        model = client.models.get(name)
    except (ModelNotFound, NamespaceNotFound):
        return Target(record, name, exists=False, here={})
    here = {}
    for version in client.versions.list(model.name, show_deleted=True):
        message = version_pb2.Version()
        message.CopyFrom(version.message)
        message.ClearField("content")
        here[version.digest] = message
    target = Target(record, model.name, exists=True, here=here)
    if kept := list(_differences(model, record.message)):
        target.left.append(f"the model keeps its own {', '.join(kept)}")
    return target


def _differences(model: Model, message: model_pb2.Model) -> Iterator[str]:
    for name in _KEPT:
        if getattr(model.message, name) != getattr(message, name):
            yield name.replace("_", " ")


def require_room(space: Namespace, *, size_bytes: int, versions_count: int) -> None:
    """Demand that so much more fits into the quota of a namespace, as the server does with each step.

    Raises:
        QuotaExceeded: it does not.
    """
    for name, asked in (("size_bytes", size_bytes), ("versions_count", versions_count)):
        allowed, used = getattr(space.quota, name), getattr(space.usage, name)
        if asked and 0 < allowed < used + asked:
            what = "bytes" if name == "size_bytes" else "versions"
            raise QuotaExceeded(
                f"The namespace {space.name} may have {allowed} {what} and has {used}; the bundle would add "
                f"{asked}, so nothing of it was imported. Purge versions that nobody needs and collect "
                "garbage, or have the quota raised.",
                metadata={
                    "namespace": space.name,
                    "quota": name,
                    "allowed": str(allowed),
                    "used": str(used),
                    "asked": str(asked),
                },
            )


def said(error: SteelyardError, message: str) -> SteelyardError:
    """Return an error that says more to people and the same to programs."""
    return type(error)(message, metadata=error.metadata, field=error.field, call_id=error.call_id)


def version_origin(message: version_pb2.Version, *, about: About) -> version_pb2.Origin:
    """Say where a version of a bundle was before."""
    return version_pb2.Origin(
        system="steelyard",
        uri=about.uri,
        version=f"{message.model}:{message.number}",
        creator=message.creator.id,
        create_time=message.create_time,
        uid=message.uid,
    )


def evaluation_origin(message: evaluation_pb2.Evaluation, *, about: About) -> version_pb2.Origin:
    """Say where an evaluation of a bundle was recorded first, so that it is known wherever it goes."""
    if message.HasField("origin"):
        return message.origin
    return version_pb2.Origin(
        system="steelyard",
        uri=about.uri,
        version=f"{message.model}:{message.number}",
        creator=message.evaluator.id,
        create_time=message.create_time,
        uid=message.uid,
    )
