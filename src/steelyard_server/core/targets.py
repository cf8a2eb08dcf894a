"""Targets: where a promotion leads, and what a policy protects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from steelyard_server.core import names, stages
from steelyard_server.errors import OneofRequired

if TYPE_CHECKING:
    from steelyard_server.core.namespaces import Namespace

Kind = Literal["stage", "alias", "policy"]
STAGE: Final = "stage"
ALIAS: Final = "alias"
POLICY: Final = "policy"


@dataclass(frozen=True, slots=True)
class Target:
    """A stage of a namespace, an alias of a model, or a policy of a namespace."""

    kind: Kind
    name: str

    @property
    def text(self) -> str:
        """Write the target for people, as `alias champion`."""
        return f"{self.kind} {self.name}"

    def check(self, *, namespace: Namespace, field: str = "target") -> None:
        """Demand a target to which a version can go.

        Raises:
            StageUnknown: the namespace has no such stage.
            InvalidName, ReservedName: there can be no such alias.
            OneofRequired: it is neither a stage nor an alias.
        """
        if self.kind == STAGE:
            stages.require(self.name, namespace=namespace, field=f"{field}.stage")
        elif self.kind == ALIAS:
            names.alias(self.name, field=f"{field}.alias")
        else:
            message = "A version goes to a stage or an alias; policies change by SetPolicy and DeletePolicy."
            raise OneofRequired(message, field=field, allowed="stage, alias")
