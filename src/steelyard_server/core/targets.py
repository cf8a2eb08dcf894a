"""Targets: where a promotion leads, and what a policy protects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from steelyard_server.core import environments, names, stages
from steelyard_server.errors import OneofRequired

if TYPE_CHECKING:
    from steelyard_server.core.namespaces import Namespace
    from steelyard_server.db.database import Transaction
    from steelyard_server.history.caller import Caller

Kind = Literal["stage", "alias", "environment", "policy"]
STAGE: Final = "stage"
ALIAS: Final = "alias"
ENVIRONMENT: Final = "environment"
POLICY: Final = "policy"


@dataclass(frozen=True, slots=True)
class Target:
    """A stage of a namespace, an alias of a model, an environment, or a policy of a namespace."""

    kind: Kind
    name: str

    @property
    def text(self) -> str:
        """Write the target for people, as `alias champion`."""
        return f"{self.kind} {self.name}"

    def covers(self, target: Target) -> bool:
        """Return whether a policy for this target protects *target*; an environment may be a pattern."""
        if ENVIRONMENT == self.kind == target.kind:
            return names.has_form(target.name, self.name)
        return self == target

    def check(self, *, namespace: Namespace, field: str) -> None:
        """Demand a target that a policy can protect.

        Raises:
            StageUnknown: the namespace has no such stage.
            InvalidName, ReservedName: there can be no such alias or environment.
            OneofRequired: it is none of these.
        """
        if self.kind == STAGE:
            stages.require(self.name, namespace=namespace, field=f"{field}.stage")
        elif self.kind == ALIAS:
            names.alias(self.name, field=f"{field}.alias")
        elif self.kind == ENVIRONMENT:
            names.environments(self.name, field=f"{field}.environment")
        else:
            message = f"`{field}` names a policy; policies change by SetPolicy and DeletePolicy."
            raise OneofRequired(message, field=field, allowed="stage, alias, environment")

    def require(self, tx: Transaction, caller: Caller, *, namespace: Namespace) -> None:
        """Demand a target to which a version can go.

        Raises:
            StageUnknown, InvalidName, ReservedName, OneofRequired: as `check`.
            EnvironmentNotFound: it is an environment, to which none can go yet.
        """
        self.check(namespace=namespace, field="target")
        if self.kind == ENVIRONMENT:
            environments.refuse(tx, caller, name=self.name)
