"""What a policy demands, as its author writes it, with the rules that need no look-up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steelyard_server.core import names, roles
from steelyard_server.core.policies import expressions
from steelyard_server.core.policies.findings import WithoutIncumbent
from steelyard_server.errors import EnumInvalid, FieldRequired, InvalidName
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steelyard_server.core.policies.expressions import Program
    from steelyard_server.core.targets import Target


@dataclass(frozen=True, slots=True)
class Check:
    """A check that the server runs."""

    name: str
    expression: str
    passes_without_incumbent: bool = False

    @property
    def program(self) -> Program:
        """Compile it, or take what was compiled before."""
        return expressions.compile(self.expression, field="expression")

    @property
    def without_incumbent(self) -> WithoutIncumbent:
        """Say what it does without an incumbent."""
        return WithoutIncumbent.PASS if self.passes_without_incumbent else WithoutIncumbent.FAIL


@dataclass(frozen=True, slots=True)
class Approvals:
    """Who must approve: `count` persons who have one of the roles or are in one of the groups."""

    count: int = 0
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    lifetime_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Which evaluations of a candidate count."""

    independent: bool = False
    age_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy as it is to be, unchecked.

    Args:
        approvals: None for nobody.
        evaluations: None for all, and training metrics too.
    """

    target: Target
    models: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    outside_checks: tuple[str, ...] = ()
    approvals: Approvals | None = None
    evaluations: Evaluations | None = None
    description: str = ""

    def check(self) -> None:
        """Check every rule that needs no look-up, and compile all checks.

        Raises:
            PolicyInvalid: a check does not parse or has wrong types.
            InvalidArgument: something else is wrong, with its field.
        """
        names.description(self.description, field="policy.description")
        names.at_most(len(self.models), LIMITS.policy_models_count, field="policy.models")
        names.distinct(self.models, field="policy.models")
        for place, pattern in enumerate(self.models):
            _check_pattern(pattern, field=f"policy.models[{place}]")
        self._check_checks()
        if self.approvals is not None:
            _check_approvals(self.approvals, field="policy.approvals")
        if self.evaluations is not None:
            age, field = self.evaluations.age_seconds, "policy.evaluations.age_seconds"
            names.number(age, field=field, maximum=LIMITS.promotion_seconds)

    def _check_checks(self) -> None:
        named = [*(each.name for each in self.checks), *self.outside_checks]
        names.at_most(len(named), LIMITS.policy_checks_count, field="policy.checks")
        for place, check in enumerate(self.checks):
            names.check(check.name, field=f"policy.checks[{place}].name")
            expressions.compile(check.expression, field=f"policy.checks[{place}].expression")
        for place, name in enumerate(self.outside_checks):
            names.check(name, field=f"policy.outside_checks[{place}]")
        names.distinct(named, field="policy.checks")

    def as_json(self) -> dict[str, Any]:
        """Write what it demands, without description and target."""
        checks = [
            {
                "name": each.name,
                "expression": each.expression,
                "passes_without_incumbent": each.passes_without_incumbent,
            }
            for each in self.checks
        ]
        written: dict[str, Any] = {
            "models": list(self.models),
            "checks": checks,
            "outside_checks": list(self.outside_checks),
        }
        if self.approvals is not None:
            written["approvals"] = {
                "count": str(self.approvals.count),
                "roles": list(self.approvals.roles),
                "groups": list(self.approvals.groups),
                "lifetime_seconds": str(self.approvals.lifetime_seconds),
            }
        if self.evaluations is not None:
            written["evaluations"] = {
                "independent": self.evaluations.independent,
                "age_seconds": str(self.evaluations.age_seconds),
            }
        return written


def read(content: Mapping[str, Any], *, target: Target, description: str) -> Draft:
    """Read what `Draft.as_json` wrote."""
    approvals, evaluations = content.get("approvals"), content.get("evaluations")
    return Draft(
        target=target,
        models=tuple(content["models"]),
        checks=tuple(Check(**each) for each in content["checks"]),
        outside_checks=tuple(content["outside_checks"]),
        approvals=_read_approvals(approvals) if approvals else None,
        evaluations=(
            Evaluations(evaluations["independent"], int(evaluations["age_seconds"])) if evaluations else None
        ),
        description=description,
    )


def matches(pattern: str, name: str) -> bool:
    """Return whether a folded name of a model has the form of a pattern, whatever its letter case."""
    return names.has_form(name, names.model_key(pattern))


def _read_approvals(read: Mapping[str, Any]) -> Approvals:
    lifetime_seconds = int(read["lifetime_seconds"])
    return Approvals(int(read["count"]), tuple(read["roles"]), tuple(read["groups"]), lifetime_seconds)


def _check_pattern(pattern: str, *, field: str) -> None:
    if not pattern:
        raise FieldRequired(f"`{field}` is empty; write a name of models, or `*` in it.", field=field)
    if "/" in pattern:
        message = f"`{field}` names a namespace; a policy holds in its own, so write only what is behind `/`."
        raise InvalidName(message, field=field, pattern=LIMITS.model_name_pattern)
    names.text(pattern, field=field, maximum_bytes=4 * LIMITS.model_name_characters)


def _check_approvals(approvals: Approvals, *, field: str) -> None:
    names.number(approvals.count, field=f"{field}.count", minimum=1, maximum=LIMITS.approvals_count)
    lifetime_seconds = approvals.lifetime_seconds
    names.number(lifetime_seconds, field=f"{field}.lifetime_seconds", maximum=LIMITS.promotion_seconds)
    asked = [*approvals.roles, *approvals.groups]
    names.at_most(len(asked), LIMITS.approval_subjects_count, field=f"{field}.roles")
    names.distinct(asked, field=f"{field}.roles")
    reviewing = roles.allowing(roles.REVIEW)
    for place, role in enumerate(approvals.roles):
        if role not in reviewing:
            message = f"`{field}.roles[{place}]` is {role}, which may not review; use {', '.join(reviewing)}."
            raise EnumInvalid(message, field=f"{field}.roles[{place}]")
    for place, group in enumerate(approvals.groups):
        if not group.startswith(names.GROUP):
            message = f"`{field}.groups[{place}]` is no group; write `{names.GROUP}name`."
            raise InvalidName(message, field=f"{field}.groups[{place}]", pattern=LIMITS.name_pattern)
        names.subject(group, field=f"{field}.groups[{place}]")
