"""The rules of versions, aliases and their ends once more, over plain dictionaries and without a database."""

from __future__ import annotations

from dataclasses import dataclass, field


class Refused(Exception):
    """What the registry must refuse, by its reason."""


@dataclass
class PlainVersion:
    """Content, and what is known of it; a version that was copied has what its source had.

    Its one blob is known by its size.
    """

    seed: int
    semantic_version: str = ""
    key: str = ""
    blob_bytes: int = 0
    deleted: bool = False


@dataclass
class PlainSpace:
    """A namespace: the blobs that it holds, and how much it may have, where 0 is any amount."""

    held: set[int] = field(default_factory=set)
    models: list[PlainModel] = field(default_factory=list)
    quota_bytes: int = 0
    quota_versions: int = 0

    @property
    def usage(self) -> tuple[int, int]:
        """Say how many bytes and versions it has."""
        return sum(self.held), sum(len(model.versions) for model in self.models)

    def hold(self, blob_bytes: int) -> None:
        """Take a blob in, at most once."""
        if blob_bytes in self.held:
            return
        if 0 < self.quota_bytes < self.usage[0] + blob_bytes:
            raise Refused("QUOTA_EXCEEDED")
        self.held.add(blob_bytes)

    def require_version(self) -> None:
        """Demand that there may be one version more."""
        if 0 < self.quota_versions <= self.usage[1]:
            raise Refused("QUOTA_EXCEEDED")


@dataclass
class PlainModel:
    """A model; `sets` are what each alias was set to and can go back to, the last one is in effect."""

    space: PlainSpace
    last: int = 0
    deleted: bool = False
    purged: bool = False
    versions: dict[int, PlainVersion] = field(default_factory=dict)
    purged_keys: set[str] = field(default_factory=set)
    sets: dict[str, list[int]] = field(default_factory=dict)

    @property
    def live(self) -> list[int]:
        """List the numbers that are not deleted."""
        return sorted(number for number, version in self.versions.items() if not version.deleted)

    def require(self) -> None:
        """Demand that the model is found."""
        if self.purged:
            raise Refused("MODEL_NOT_FOUND")
        if self.deleted:
            raise Refused("MODEL_DELETED")

    def find(self, number: int) -> PlainVersion:
        """Return a version that is not deleted."""
        self.require()
        if number not in self.versions:
            raise Refused("VERSION_NOT_FOUND")
        if self.versions[number].deleted:
            raise Refused("VERSION_DELETED")
        return self.versions[number]

    def find_deleted(self, number: int) -> PlainVersion:
        """Return a version that is deleted."""
        self.require()
        if number not in self.versions:
            raise Refused("VERSION_NOT_FOUND")
        if not self.versions[number].deleted:
            raise Refused("NOT_DELETED")
        return self.versions[number]

    def create(self, wish: PlainVersion, *, copied: bool = False, kept: int = 0) -> tuple[int, bool]:
        """Return number and whether it is new.

        Args:
            copied: whether it brings its blob with it.
            kept: the number that an import wants, or 0.
        """
        self.require()
        same = next((number for number, each in self.versions.items() if each.seed == wish.seed), 0)
        self._check_key(wish)
        if not (same and self.versions[same].semantic_version):
            self._check_semantic_version(wish)
        if not same and 0 < kept <= self.last:
            raise Refused("NUMBER_TAKEN")
        if not same:
            self._take(wish, copied=copied)
            self.last = kept or self.last + 1
            self.versions[self.last] = wish
            return self.last, True
        known = self.versions[same]
        if known.deleted:
            raise Refused("CONTENT_DELETED")
        if kept and kept != same:
            raise Refused("VERSION_ALREADY_EXISTS")
        for name in ("semantic_version", "key"):
            asked, stands = getattr(wish, name), getattr(known, name)
            if asked and stands and asked != stands:
                raise Refused("VERSION_ALREADY_EXISTS")
        known.semantic_version = known.semantic_version or wish.semantic_version
        known.key = known.key or wish.key
        return same, False

    def _take(self, wish: PlainVersion, *, copied: bool) -> None:
        """Take the place of a new version in the namespace, all of it or nothing."""
        if not copied and wish.blob_bytes not in self.space.held:
            raise Refused("BLOB_MISSING")
        before = set(self.space.held)
        try:
            self.space.hold(wish.blob_bytes)
            self.space.require_version()
        except Refused:
            self.space.held = before
            raise

    def _check_key(self, wish: PlainVersion) -> None:
        others = {each.key for each in self.versions.values() if each.seed != wish.seed}
        if wish.key and wish.key in others | self.purged_keys:
            raise Refused("IDEMPOTENCY_KEY_REUSED")

    def _check_semantic_version(self, wish: PlainVersion) -> None:
        taken = {each.semantic_version for each in self.versions.values()}
        if wish.semantic_version and wish.semantic_version in taken:
            raise Refused("SEMANTIC_VERSION_ALREADY_EXISTS")

    def delete(self, number: int) -> None:
        """Delete a version to which no alias points."""
        version = self.find(number)
        if number in self.aliases.values():
            raise Refused("VERSION_IN_USE")
        version.deleted = True

    def undelete(self, number: int) -> None:
        """Bring a version back."""
        self.find_deleted(number).deleted = False

    def purge(self, number: int) -> None:
        """End a version."""
        self.purged_keys |= {self.find_deleted(number).key} - {""}
        del self.versions[number]

    @property
    def aliases(self) -> dict[str, int]:
        """Say where each alias points."""
        return {name: sets[-1] for name, sets in self.sets.items()}

    def set_alias(self, name: str, number: int) -> None:
        """Point an alias to a version."""
        self.find(number)
        if self.aliases.get(name) != number:
            self.sets.setdefault(name, []).append(number)

    def roll_back(self, name: str) -> None:
        """Point an alias back to the last other version that is left."""
        self.require()
        if name not in self.sets:
            raise Refused("ALIAS_NOT_FOUND")
        sets = self.sets[name]
        for position in range(len(sets) - 2, -1, -1):
            if sets[position] in self.live and sets[position] != sets[-1]:
                del sets[position + 1 :]
                return
        raise Refused("NO_ROLLBACK_TARGET")

    def delete_alias(self, name: str) -> None:
        """Delete an alias, and with it what it could go back to."""
        self.require()
        if name not in self.sets:
            raise Refused("ALIAS_NOT_FOUND")
        del self.sets[name]

    def remove(self) -> None:
        """Delete the model."""
        self.require()
        if self.sets:
            raise Refused("MODEL_IN_USE")
        self.deleted = True

    def restore(self) -> None:
        """Bring the model back."""
        self._require_deleted()
        self.deleted = False

    def end(self) -> None:
        """Purge the model."""
        self._require_deleted()
        self.purged = True
        self.versions = {}

    def _require_deleted(self) -> None:
        if self.purged:
            raise Refused("MODEL_NOT_FOUND")
        if not self.deleted:
            raise Refused("NOT_DELETED")
