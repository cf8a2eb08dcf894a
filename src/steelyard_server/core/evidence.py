"""Evidence: what the checks of a promotion look at, frozen before they run, and what they find.

Gathering reads one snapshot. Judging reads nothing more, so it runs outside of any transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from steelyard_server.core import approvals, evaluations, files, governance, pointers, versions
from steelyard_server.core.policies.expressions import Need
from steelyard_server.core.policies.facts import Facts, Measurement, ModelFacts, Side
from steelyard_server.core.policies.language import NOW
from steelyard_server.core.promotions import FAILED, PASSED, WAITING, CheckResult
from steelyard_server.history import events
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from steelyard_server.core.content import File
    from steelyard_server.core.evaluations import Evaluation
    from steelyard_server.core.governance import Policy
    from steelyard_server.core.models import Model
    from steelyard_server.core.policies.findings import Finding
    from steelyard_server.core.policy_drafts import Evaluations
    from steelyard_server.core.promotions import Promotion
    from steelyard_server.core.targets import Target
    from steelyard_server.core.versions import Version
    from steelyard_server.db.database import Row, Transaction

Key = tuple[str, int, tuple[governance.Revision, ...]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A version with what was measured on it, the newest first; files only if a check wants them."""

    version: Version
    files: tuple[File, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that the checks look at, but what is in the files; *now* is in microseconds.

    Args:
        barred: who proposes, and who made the content of either side in any model, where a policy asks for
            measures of others.
    """

    model: Model
    candidate: Subject
    incumbent: Subject | None
    policies: tuple[Policy, ...]
    needs: frozenset[Need]
    now: int
    barred: frozenset[str] = frozenset()

    @property
    def key(self) -> Key:
        """Name what must still be so when the result is used."""
        number = self.incumbent.version.number if self.incumbent else 0
        return (self.candidate.version.uid, number, governance.revisions(self.policies))

    @property
    def heads(self) -> list[File]:
        """Return the files of which checks want to know the format, each digest once."""
        sides = [self.candidate, self.incumbent] if Need.FORMATS in self.needs else []
        listed = [file for side in sides if side for file in side.files if not file.uri]
        return list({file.digest: file for file in listed}.values())


@dataclass(frozen=True, slots=True)
class Judged:
    """What the checks found, and on what; the evaluations of both sides by uid."""

    key: Key
    checks: tuple[CheckResult, ...]
    evaluations: tuple[str, ...]
    incumbent_evaluations: tuple[str, ...] = ()


def gather(
    tx: Transaction,
    *,
    model: Model,
    version: Row,
    target: Target,
    author: str,
    before: Promotion | None = None,
) -> Inputs:
    """Read everything that the checks of the policies of *target* look at.

    Args:
        author: who proposes it.
        before: the promotion whose checks run again: they look at no evaluation that came later, but at all
            of an incumbent that was another then.
    """
    policies = tuple(governance.protecting(tx, model=model, target=target))
    needs = frozenset(
        need for each in policies for check in each.draft.checks for need in check.program.needs
    )
    there = pointers.incumbent(tx, model=model, target=target, but=version.number)
    subject = partial(_subject, tx, model=model, needs=needs)
    same = before is not None and there is not None and before.incumbent == there.number
    frozen = before.incumbent_evaluations if before is not None and same else None
    return Inputs(
        model=model,
        candidate=subject(version, frozen=before.evaluations if before is not None else None),
        incumbent=subject(there, frozen=frozen) if there is not None else None,
        policies=policies,
        needs=needs,
        now=events.now(),
        barred=_barred(tx, [version, there], policies=policies, author=author),
    )


def _barred(
    tx: Transaction, sides: Sequence[Row | None], *, policies: Sequence[Policy], author: str
) -> frozenset[str]:
    rules = [each.draft.evaluations for each in policies]
    if not any(rule is not None and rule.independent for rule in rules):
        return frozenset()
    made = (approvals.creators(tx, digest=each.digest) for each in sides if each is not None)
    return frozenset({author}).union(*made)


def ages(policies: Iterable[Policy]) -> bool:
    """Return whether their checks may find something else later although nothing changed."""
    drafts = [each.draft for each in policies]
    bounded = any(each.evaluations is not None and each.evaluations.age_seconds for each in drafts)
    return bounded or any(NOW in check.program.names for each in drafts for check in each.checks)


def judge(inputs: Inputs, *, formats: Mapping[str, str]) -> Judged:
    """Run all checks; for a thread of its own, for it may take seconds.

    Args:
        formats: of `Inputs.heads`, by digest.
    """
    checks = [result for policy in inputs.policies for result in _results(policy, inputs, formats=formats)]
    return Judged(inputs.key, tuple(checks), _uids(inputs.candidate), _uids(inputs.incumbent))


def _uids(subject: Subject | None) -> tuple[str, ...]:
    return tuple(each.uid for each in subject.evaluations) if subject else ()


def _subject(
    tx: Transaction,
    version: Row,
    *,
    model: Model,
    needs: frozenset[Need],
    frozen: Sequence[str] | None,
) -> Subject:
    """Read a version; *frozen* are the uids of the evaluations that count, None for the newest ones."""
    (found,) = versions.without_files(tx, [version], model=model)
    listed = files.all_of(tx, version_id=version.id) if Need.FILES in needs else []
    if frozen is None:
        count = LIMITS.promotion_evaluations_count
        measured = evaluations.newest(tx, model=model, version=version, count=count)
    else:
        measured = evaluations.named(tx, model=model, version=version, uids=frozen)
    return Subject(found, tuple(listed), tuple(measured))


def _results(policy: Policy, inputs: Inputs, *, formats: Mapping[str, str]) -> Iterator[CheckResult]:
    draft = policy.draft
    facts = _facts(inputs, formats=formats, rule=draft.evaluations)
    for check in draft.checks:
        finding = check.program.run(facts, without_incumbent=check.without_incumbent)
        yield _result(finding, policy=policy.name, name=check.name)
    for name in draft.outside_checks:
        yield CheckResult(policy.name, name, WAITING, outside=True)


def _result(finding: Finding, *, policy: str, name: str) -> CheckResult:
    state = PASSED if finding.passed else FAILED
    return CheckResult(policy, name, state, reason=finding.reason.value, message=finding.message)


def _facts(inputs: Inputs, *, formats: Mapping[str, str], rule: Evaluations | None) -> Facts:
    model, age_seconds = inputs.model, rule.age_seconds if rule else 0
    oldest = inputs.now - age_seconds * 1_000_000 if age_seconds else 0
    side = partial(_side, inputs, formats=formats, rule=rule)
    return Facts(
        candidate=side(inputs.candidate, oldest=oldest),
        incumbent=side(inputs.incumbent) if inputs.incumbent else None,
        model=ModelFacts(
            name=model.text,
            description=model.description,
            labels=model.labels,
            owners=tuple(model.owners),
            metric_directions=model.metric_directions,
        ),
        now=inputs.now,
    )


def _side(
    inputs: Inputs, subject: Subject, *, formats: Mapping[str, str], rule: Evaluations | None, oldest: int = 0
) -> Side:
    """Write a side for checks, with the measurements that count; *oldest* is a time in microseconds."""
    version = subject.version
    content = version.content
    barred = inputs.barred if rule and rule.independent else frozenset()
    measurements = [
        _measurement(each)
        for each in subject.evaluations
        if each.evaluator["id"] not in barred and each.evaluate_time >= oldest
    ]
    if rule is None and content.metrics:
        creator = version.creator["id"]
        measurements.append(Measurement(content.metrics, content.datasets, creator, version.create_time))
    return Side(
        text=f"{version.model}:{version.number}",
        number=version.number,
        digest=version.digest,
        creator=version.creator["id"],
        create_time=version.create_time,
        content=replace(content, files=subject.files),
        measurements=tuple(measurements),
        description=version.description,
        semantic_version=version.semantic_version,
        labels=version.labels,
        formats=formats,
    )


def _measurement(evaluation: Evaluation) -> Measurement:
    return Measurement(
        evaluation.metrics,
        evaluation.datasets,
        evaluator=evaluation.evaluator["id"],
        measure_time=evaluation.evaluate_time,
        evaluation=evaluation.uid,
    )
