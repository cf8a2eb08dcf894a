"""Evidence: what the checks of a promotion look at, frozen before they run, and what they find.

Gathering reads one snapshot. Judging reads nothing more, so it runs outside of any transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from steelyard_server.core import approvals, evaluations, files, governance, pointers, versions
from steelyard_server.core.policies.expressions import Need
from steelyard_server.core.policies.facts import Facts, Measurement, ModelFacts, Side
from steelyard_server.core.promotions import FAILED, PASSED, WAITING, CheckResult
from steelyard_server.history import events
from steelyard_server.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from steelyard_server.core.content import File
    from steelyard_server.core.evaluations import Evaluation
    from steelyard_server.core.governance import Policy
    from steelyard_server.core.models import Model
    from steelyard_server.core.policies.findings import Finding
    from steelyard_server.core.policy_drafts import Evaluations
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
        creators: who made the content of the candidate, in any model, where a policy asks for others.
    """

    model: Model
    candidate: Subject
    incumbent: Subject | None
    policies: tuple[Policy, ...]
    needs: frozenset[Need]
    now: int
    creators: frozenset[str] = frozenset()

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
    """What the checks found, and on what."""

    key: Key
    checks: tuple[CheckResult, ...]
    evaluations: tuple[str, ...]


def gather(
    tx: Transaction,
    *,
    model: Model,
    version: Row,
    target: Target,
    known: Sequence[str] | None = None,
) -> Inputs:
    """Read everything that the checks of the policies of *target* look at.

    Args:
        known: uids of the evaluations that count; None for all that there are now.
    """
    policies = tuple(governance.protecting(tx, model=model, target=target))
    needs = frozenset(
        need for each in policies for check in each.draft.checks for need in check.program.needs
    )
    there = pointers.incumbent(tx, model=model, target=target, but=version.number)
    candidate = _subject(tx, model=model, version=version, needs=needs)
    if known is not None:
        counting = tuple(each for each in candidate.evaluations if each.uid in known)
        candidate = Subject(candidate.version, candidate.files, counting)
    return Inputs(
        model=model,
        candidate=candidate,
        incumbent=_subject(tx, model=model, version=there, needs=needs) if there is not None else None,
        policies=policies,
        needs=needs,
        now=events.now(),
        creators=_creators(tx, version.digest, policies=policies),
    )


def _creators(tx: Transaction, digest: str, *, policies: Sequence[Policy]) -> frozenset[str]:
    rules = [each.draft.evaluations for each in policies]
    asked = any(rule is not None and rule.independent for rule in rules)
    return approvals.creators(tx, digest=digest) if asked else frozenset()


def judge(inputs: Inputs, *, formats: Mapping[str, str]) -> Judged:
    """Run all checks; for a thread of its own, for it may take seconds.

    Args:
        formats: of `Inputs.heads`, by digest.
    """
    checks = [result for policy in inputs.policies for result in _results(policy, inputs, formats=formats)]
    uids = tuple(each.uid for each in inputs.candidate.evaluations)
    return Judged(inputs.key, tuple(checks), uids)


def _subject(tx: Transaction, *, model: Model, version: Row, needs: frozenset[Need]) -> Subject:
    (found,) = versions.without_files(tx, [version], model=model)
    listed = files.all_of(tx, version_id=version.id) if Need.FILES in needs else []
    count = LIMITS.promotion_evaluations_count
    measured = evaluations.newest(tx, model=model, version=version, count=count)
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
    model = inputs.model
    counting = tuple(each for each in inputs.candidate.evaluations if _counts(each, inputs, rule))
    candidate = replace(inputs.candidate, evaluations=counting)
    return Facts(
        candidate=_side(candidate, formats=formats, with_training=rule is None),
        incumbent=_side(inputs.incumbent, formats=formats) if inputs.incumbent else None,
        model=ModelFacts(
            name=model.text,
            description=model.description,
            labels=model.labels,
            owners=tuple(model.owners),
            metric_directions=model.metric_directions,
        ),
        now=inputs.now,
    )


def _side(subject: Subject, *, formats: Mapping[str, str], with_training: bool = True) -> Side:
    version = subject.version
    content = version.content
    measurements = [_measurement(each) for each in subject.evaluations]
    if with_training and content.metrics:
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


def _counts(evaluation: Evaluation, inputs: Inputs, rule: Evaluations | None) -> bool:
    if rule is None:
        return True
    if rule.independent and evaluation.evaluator["id"] in inputs.creators:
        return False
    return not rule.age_seconds or evaluation.evaluate_time >= inputs.now - rule.age_seconds * 1_000_000


def _measurement(evaluation: Evaluation) -> Measurement:
    return Measurement(
        evaluation.metrics,
        evaluation.datasets,
        evaluator=evaluation.evaluator["id"],
        measure_time=evaluation.evaluate_time,
        evaluation=evaluation.uid,
    )
