"""docs/policies.md names all that a check may use, and every check in it is judged as it says."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from steelyard_server.core.policies import language
from steelyard_server.core.policies.expressions import compile as compile_check
from steelyard_server.core.policies.facts import Facts
from steelyard_server.core.policies.findings import Reason, WithoutIncumbent
from steelyard_server.core.policies.formats import FORMATS
from steelyard_server.errors import PolicyInvalid
from steelyard_server.limits import LIMITS
from tests.docs.pages import ROOT, blocks
from tests.unit.policy_facts import CANDIDATE, FACTS, HOLDOUT, MODEL, NOW, OTHER, measured, side

PAGE = ROOT / "docs/policies.md"
TEXT = PAGE.read_text(encoding="utf-8")
# A check in a block stands on lines of its own, and behind it what it comes to.
CHECKS = re.findall(
    r"((?:^(?!// ).+\n)+)// (.+)", "\n".join(each.text for each in blocks(PAGE, "cel")), re.MULTILINE
)
OUTCOME = re.compile(r"(\w+) ?(.*?)(?:: (?!pass`)(.*))?")
SITUATIONS = {
    "": FACTS,
    "without an incumbent": replace(FACTS, incumbent=None),
    "when the incumbent was measured on other data": Facts(
        CANDIDATE, side(6, measured(OTHER, precision=0.93)), MODEL, NOW
    ),
    "for a candidate with precision 0.91": Facts(
        side(7, measured(HOLDOUT, precision=0.91)), FACTS.incumbent, MODEL, NOW
    ),
}


@pytest.mark.parametrize(("expression", "outcome"), CHECKS)
def test_a_check_of_the_page_is_judged_as_it_says(expression: str, outcome: str) -> None:
    reason, situation, rest = OUTCOME.fullmatch(outcome).groups(default="")  # type: ignore[union-attr]
    if reason == "POLICY_INVALID":
        with pytest.raises(PolicyInvalid) as caught:
            compile_check(expression, field="expression")
        assert rest in caught.value.message
        return
    without = WithoutIncumbent.PASS if "without_incumbent: pass" in situation else WithoutIncumbent.FAIL
    facts = SITUATIONS[situation.removesuffix(", with `without_incumbent: pass`")]

    finding = compile_check(expression, field="expression").run(facts, without_incumbent=without)

    assert (finding.reason.value, finding.message if rest else "") == (reason, rest)


def test_the_page_shows_checks_of_every_kind() -> None:
    reasons = {re.split(r"[: ]", outcome)[0] for _, outcome in CHECKS}

    assert reasons >= {"POLICY_INVALID", "PASSED", "FALSE", "ABSENT", "DATASET_MISMATCH", "NO_INCUMBENT"}


def test_the_page_names_all_that_there_is() -> None:
    sides = {name.partition(".")[2] for name in language.VALUES if name.startswith("candidate.")}
    functions = {each.name.rpartition(".")[2] for each in language.FUNCTIONS}
    spans = set(re.findall(r"`([^`\n]+)`", TEXT))

    for name in sides | {"now", *language.FILE_FIELDS, *FORMATS, *(each.value for each in Reason)}:
        assert name in spans, name
    for name in language.MODEL_VALUES:
        assert f"model.{name}" in spans, name
    for name in functions | language.STANDARD:
        assert any(span.partition("(")[0].rpartition(".")[2] == name for span in spans), name


def test_the_page_has_the_limits() -> None:
    assert f"{LIMITS.policy_expression_bytes:,} bytes" in TEXT
    assert f"{LIMITS.policy_steps_count:,} steps" in TEXT
