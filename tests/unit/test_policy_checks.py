"""Checks of policies on facts: what passes, and why what does not."""

from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from dataclasses import replace

import pytest

from steelyard_server.core.content import Content, Dataset, File, Metric, Schema, SchemaField
from steelyard_server.core.policies import expressions, run
from steelyard_server.core.policies.expressions import Need
from steelyard_server.core.policies.facts import Facts, Measurement
from tests.unit.policy_facts import (
    CANDIDATE,
    CONTENT,
    DAY,
    FACTS,
    FIRST,
    INCUMBENT,
    MODEL,
    NOW,
    OTHER,
    PICKLE,
    WEIGHTS,
    found,
    measured,
    side,
    told,
)


def of(candidate: float, incumbent: float, *, name: str = "precision") -> Facts:
    return replace(
        FACTS,
        candidate=side(7, measured(**{name: candidate})),
        incumbent=side(6, measured(**{name: incumbent})),
    )


@pytest.mark.parametrize(
    ("candidate", "incumbent", "margin", "reason"),
    [
        (0.94, 0.93, "0.01", "PASSED"),  # in binary the difference is less than 0.01
        (0.94, 0.93, "0.011", "FALSE"),
        (0.93, 0.93, "0.0", "PASSED"),
        (0.93, 0.93, "0", "PASSED"),
        (0.92, 0.93, "0.0", "FALSE"),
        (0.92, 0.93, "-0.01", "PASSED"),
        (0.919, 0.93, "-0.01", "FALSE"),
        (float("inf"), 0.93, "0.1", "PASSED"),
        (float("inf"), float("inf"), "0.0", "PASSED"),
        (float("-inf"), 0.93, "-5.0", "FALSE"),
        (float("nan"), 0.93, "0.0", "NOT_A_NUMBER"),
        (0.94, float("nan"), "-1.0", "NOT_A_NUMBER"),
        (float("nan"), float("nan"), "0.0", "NOT_A_NUMBER"),
        (0.94, 0.93, "0.0/0.0", "FAILED"),
        (0.94, 0.93, "-1.0/0.0", "FAILED"),
    ],
)
def test_higher_is_better_by_at_least_the_margin(
    candidate: float, incumbent: float, margin: str, reason: str
) -> None:
    assert told(f'better("precision@holdout", {margin})', of(candidate, incumbent)) == reason


@pytest.mark.parametrize(
    ("candidate", "incumbent", "margin", "reason"),
    [
        (0.2, 0.25, "0.05", "PASSED"),
        (0.2, 0.25, "0.06", "FALSE"),
        (0.3, 0.25, "0.0", "FALSE"),
        (0.3, 0.25, "-0.05", "PASSED"),
    ],
)
def test_lower_is_better_where_the_model_says_so(
    candidate: float, incumbent: float, margin: str, reason: str
) -> None:
    assert told(f'better("loss@holdout", {margin})', of(candidate, incumbent, name="loss")) == reason


def test_a_metric_without_direction_is_not_compared() -> None:
    finding = found('better("recall@holdout", 0.0)', of(0.9, 0.1, name="recall"))

    assert finding.reason == "NO_DIRECTION"
    assert "metric direction" in finding.message


def test_numbers_of_other_data_are_not_compared() -> None:
    facts = replace(FACTS, incumbent=side(6, measured(OTHER, precision=0.1)))

    finding = found('better("precision@holdout", 0.0)', facts)

    assert finding.reason == "DATASET_MISMATCH"
    assert "sha256:aaaaaaaaaaaa" in finding.message
    assert "sha256:bbbbbbbbbbbb" in finding.message
    (seen,) = finding.observations
    assert seen.candidate
    assert seen.incumbent
    assert (seen.candidate.value, seen.incumbent.value) == (0.94, 0.1)
    assert seen.candidate.dataset_digest != seen.incumbent.dataset_digest == OTHER


@pytest.mark.parametrize(
    "expression",
    [
        'candidate.metric("precision@holdout") >= incumbent.metric("precision@holdout")',
        'incumbent.metric("precision") < candidate.metric("precision")',
        'candidate.metric("precision") - incumbent.metric("precision") > 0.0 || 1 > 2',
        '["precision"].all(m, candidate.metric(m) > 0.99 * incumbent.metric(m))',
    ],
)
def test_numbers_that_a_check_compares_by_itself_need_the_same_data_too(expression: str) -> None:
    other = replace(FACTS, incumbent=side(6, measured(OTHER, precision=0.1)))
    unknown = replace(FACTS, incumbent=side(6, measured("", precision=0.1)))

    assert [told(expression, each) for each in (FACTS, other, unknown)] == [
        "PASSED",
        "DATASET_MISMATCH",
        "DATASET_MISMATCH",
    ]


def test_what_is_no_number_is_neither_more_nor_less() -> None:
    facts = replace(FACTS, candidate=side(7, measured(precision=float("nan"))))

    finding = found('!(candidate.metric("precision") < 0.9)', facts)

    assert (finding.passed, finding.reason.value) == (False, "NOT_A_NUMBER")
    assert "precision of risk/fraud:7 is no number" in finding.message


@pytest.mark.parametrize("unknown", ["candidate", "incumbent"])
def test_data_whose_digest_is_not_known_is_no_proof(unknown: str) -> None:
    facts = replace(FACTS, **{unknown: side(6, measured("", precision=0.94))})

    finding = found('better("precision@holdout", -1.0)', facts)

    assert finding.reason == "DATASET_MISMATCH"
    assert f"the {unknown} risk/fraud:6 does not say the digest of holdout" in finding.message


def test_neither_is_a_metric_that_names_no_data_or_two() -> None:
    nowhere = Measurement((Metric("precision", "", "", 0.9),), (Dataset("holdout", digest=OTHER),), "u", NOW)
    twice = replace(
        measured(precision=0.94),
        datasets=(Dataset("holdout", digest=OTHER), Dataset("holdout", digest=WEIGHTS, role="test")),
    )

    for measurement, text in ((nowhere, "precision"), (twice, "precision@holdout")):
        facts = replace(FACTS, candidate=side(7, measurement), incumbent=side(6, measurement))
        assert told(f'better("{text}", -1.0)', facts) == "DATASET_MISMATCH"


def test_the_newest_measurement_counts() -> None:
    candidate = side(7, measured(precision=0.8), measured(precision=0.99, loss=0.1))

    assert candidate.measured["precision", "holdout", ""][0].value == 0.8
    assert (
        told('candidate.metric("precision@holdout") == 0.8', replace(FACTS, candidate=candidate)) == "PASSED"
    )
    assert told('candidate.metric("loss@holdout") == 0.1', replace(FACTS, candidate=candidate)) == "PASSED"


def test_a_metric_that_names_no_dataset_is_that_of_the_only_one() -> None:
    assert told('better("precision", 0.01)') == "PASSED"
    test = Measurement((Metric("precision", "test", "", 0.5),), (), "user:ann", NOW)
    several = replace(FACTS, candidate=replace(CANDIDATE, measurements=(*CANDIDATE.measurements, test)))

    finding = found('candidate.metric("precision") > 0.1', several)

    assert finding.reason == "ABSENT"
    assert "precision@holdout, precision@test" in finding.message


def test_slices_and_quoted_names_are_metrics_too() -> None:
    metrics = (Metric("top@5", "hold out", "a[0]=b", 1.0),)
    facts = replace(FACTS, candidate=side(7, Measurement(metrics, (), "user:ann", NOW)))

    assert told('candidate.metric("precision@holdout[region=EU]") == 0.9') == "PASSED"
    assert told("""candidate.metric('"top@5"@hold out[a[0]=b]') == 1.0""", facts) == "PASSED"


@pytest.mark.parametrize(
    ("expression", "absent"),
    [
        (
            'better("recall@holdout", 0.0)',
            "risk/fraud:7 has no recall@holdout, only precision@holdout, loss@holdout",
        ),
        ('candidate.metric("f1") > 0.5', "risk/fraud:7 has no f1"),
        ('candidate.evaluator("f1") != "x"', "risk/fraud:7 has no f1"),
        ('candidate.measure_time("f1") < now', "risk/fraud:7 has no f1"),
        ('better("precision@holdout[region=EU]", 0.0)', "risk/fraud:6 has no precision@holdout[region=EU]"),
        ('candidate.labels["cost"] == "1"', "There is no 'cost' in candidate.labels."),
        ('candidate.labels.cost != "1"', "There is no 'cost' in candidate.labels."),
        ("candidate.parameters.width < 9", "There is no 'width' in candidate.parameters."),
        ('candidate.framework.version != "1"', "There is no 'version' in candidate.framework."),
        ('candidate.semantic_version != "1"', "candidate has no semantic_version."),
        ('incumbent.semantic_version != "1"', "incumbent has no semantic_version."),
        ('incumbent.labels.cost != "1"', "There is no 'cost' in incumbent.labels."),
        ('model.labels.x == "1"', "There is no 'x' in model.labels."),
        ('better("precision@holdout", 0) && candidate.labels.cost == "1"', "There is no 'cost'"),
    ],
)
def test_a_check_on_something_absent_fails_and_says_what(expression: str, absent: str) -> None:
    finding = found(expression)

    assert (finding.passed, finding.reason.value) == (False, "ABSENT")
    assert absent in finding.message


def test_what_is_absent_does_not_matter_where_the_rest_decides() -> None:
    assert told('has(candidate.labels.cost) && candidate.labels.cost == "1"') == "FALSE"
    assert told('!has(candidate.labels.cost) || candidate.labels.cost == "1"') == "PASSED"
    assert told('candidate.has_metric("f1") ? candidate.metric("f1") > 0.9 : true') == "PASSED"
    assert told('candidate.metric("f1") > 0.9 || candidate.number == 7') == "PASSED"


DEPENDING = (
    'better("precision@holdout", 0.0)',
    "incumbent.number == 6",
    "schema_compatible(candidate, incumbent)",
    'incumbent.metric("precision@holdout") < 1.0',
    "has(incumbent.labels.team)",
    'incumbent.has_metric("f1")',
)


@pytest.mark.parametrize("expression", DEPENDING)
def test_without_an_incumbent_a_check_fails_unless_it_says_otherwise(expression: str) -> None:
    finding = found(expression, FIRST)

    assert (finding.passed, finding.reason.value) == (False, "NO_INCUMBENT")
    assert "`without_incumbent: pass`" in finding.message
    assert told(expression, FIRST, without="pass") == "PASSED_WITHOUT_INCUMBENT"
    assert Need.INCUMBENT in expressions.compile(expression, field="check").needs


@pytest.mark.parametrize("order", ["{} && {}", "{1} && {0}"])
@pytest.mark.parametrize("depending", DEPENDING)
def test_without_an_incumbent_the_rest_of_a_check_counts(depending: str, order: str) -> None:
    def both(other: str) -> str:
        return told(order.format(depending, other), FIRST, without="pass")

    assert both('candidate.metric("precision@holdout") > 0.9') == "PASSED_WITHOUT_INCUMBENT"
    assert both('candidate.metric("precision@holdout") > 0.99') == "FALSE"
    assert both('candidate.metric("f1") > 0.9') == "ABSENT"
    assert both('candidate.labels.cost == "1"') == "ABSENT"
    assert both("1 / 0 == 1") == "FAILED"
    assert both("candidate.number == 7 && candidate.labels.cost == '1'") == "ABSENT"
    assert told(order.format(depending, "false"), FIRST) == "FALSE"
    assert told(order.format(depending, 'candidate.metric("f1") > 0.9'), FIRST) == "ABSENT"


def test_without_an_incumbent_the_candidate_needs_what_is_compared() -> None:
    bare = Facts(side(7, content=replace(CONTENT, schema=None)), None, MODEL, NOW)

    assert told('better("precision@holdout", 0.0)', bare, without="pass") == "ABSENT"
    assert told("schema_compatible(candidate, incumbent)", bare, without="pass") == "ABSENT"


def test_an_incumbent_that_is_there_is_never_excused() -> None:
    bare = replace(FACTS, incumbent=side(6))

    assert told('better("precision@holdout", 0.0)', bare, without="pass") == "ABSENT"
    assert told('incumbent.semantic_version != "1"', bare, without="pass") == "ABSENT"


def test_a_finding_has_the_numbers_the_data_and_where_they_are_from() -> None:
    finding = found('better("precision@holdout", 0.02) || better("loss", 0.2)')

    assert finding.message == (
        "precision@holdout: candidate 0.94, incumbent 0.93, at least +0.02 wanted (higher-is-better), "
        "on holdout sha256:aaaaaaaaaaaa…; loss: candidate 0.2, incumbent 0.25, at least +0.2 wanted "
        "(lower-is-better), on holdout sha256:aaaaaaaaaaaa…."
    )
    precision, loss = finding.observations
    assert (precision.metric, precision.margin, precision.direction) == (
        "precision@holdout",
        0.02,
        "higher-is-better",
    )
    assert precision.candidate
    assert precision.incumbent
    assert loss.incumbent
    assert (precision.candidate.version, precision.candidate.evaluation) == ("risk/fraud:7", "ev-2")
    assert (precision.incumbent.version, precision.incumbent.evaluation) == ("risk/fraud:6", "ev-1")
    assert precision.candidate.evaluator == "service:evaluation"
    assert precision.candidate.measure_time == NOW - DAY
    assert (loss.incumbent.dataset, loss.incumbent.value) == ("holdout", 0.25)


def test_observations_and_messages_are_bounded() -> None:
    listed = ", ".join(f'"m{number}"' for number in range(400))
    metrics = tuple(Metric(f"m{number}", "holdout", "", 1.0) for number in range(400))
    facts = replace(FACTS, candidate=side(7, Measurement(metrics, (), "user:ann", NOW)))

    finding = found(f"[{listed}].all(m, candidate.metric(m) == 1.0)", facts)

    assert finding.passed
    assert len(finding.observations) == run.OBSERVATIONS_COUNT
    assert len(finding.message) <= 2000


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("candidate.number == 7 && incumbent.number == 6", "PASSED"),
        ('candidate.creator == "user:ann"', "PASSED"),
        ('candidate.evaluator("precision@holdout") != candidate.creator', "PASSED"),
        ('candidate.evaluator("precision@holdout[region=EU]") != candidate.creator', "FALSE"),
        ('now - candidate.measure_time("precision@holdout") < duration("48h")', "PASSED"),
        ('now - candidate.measure_time("precision@holdout[region=EU]") < duration("48h")', "FALSE"),
        ("now.getFullYear() == 2027", "PASSED"),
        ("candidate.parameters.depth == 6 && candidate.parameters.rate == 0.1", "PASSED"),
        ('candidate.parameters.kind in ["gbm", "forest"] && !candidate.parameters.dart', "PASSED"),
        ("candidate.source.dirty == false && has(candidate.source.commit)", "PASSED"),
        ('has(candidate.framework.version) || candidate.framework.name == "xgboost"', "PASSED"),
        ("candidate.size_bytes == 730 && candidate.files.size() == 2", "PASSED"),
        ('candidate.files.exists_one(f, f.role == "weights" && f.size_bytes == 700)', "PASSED"),
        ('candidate.files.filter(f, f.role == "weights").all(f, f.format == "safetensors")', "PASSED"),
        ('candidate.files.all(f, !f.external && f.path.matches("^[a-z.]+$"))', "PASSED"),
        ('candidate.files[1]["path"] == "config.json"', "PASSED"),
        ('model.owners.exists(o, o.startsWith("group:")) && model.labels.tier == "1"', "PASSED"),
        ('model.metric_directions.precision == "higher-is-better" && model.name.contains("fraud")', "PASSED"),
        ('["precision@holdout", "loss@holdout"].all(m, better(m, 0.01))', "PASSED"),
        ('["precision@holdout", "loss@holdout"].all(m, better(m, 0.02))', "FALSE"),
        ('["precision@holdout", "f1"].all(m, better(m, 0.0))', "ABSENT"),
        ("timestamp(candidate.labels.team) < now", "FAILED"),
        ("candidate.number / (candidate.number - 7) == 1", "FAILED"),
        ("candidate.files[5].size_bytes == 1", "FAILED"),
        ("candidate.parameters.kind < 5", "FAILED"),
    ],
)
def test_all_that_is_known_of_a_version_can_be_asked(expression: str, reason: str) -> None:
    assert told(expression) == reason


def test_the_formats_of_files_are_compared_with_a_list() -> None:
    content = replace(CONTENT, files=(*CONTENT.files, File("old.bin", PICKLE, 5)))
    unread = replace(CONTENT, files=(File("other.bin", "sha256:" + "f" * 64, 5),))
    allowed = 'file_formats().all(f, f in ["safetensors", "json"])'

    assert told(allowed) == "PASSED"
    finding = found(allowed, replace(FACTS, candidate=replace(CANDIDATE, content=content)))
    assert finding.reason == "FALSE"
    assert finding.message == "formats of its files: json, pickle, safetensors."
    assert told(allowed, replace(FACTS, candidate=replace(CANDIDATE, content=unread))) == "FALSE"
    each_unknown = 'candidate.files.all(f, f.format == "unknown")'
    assert told(each_unknown, replace(FACTS, candidate=replace(CANDIDATE, content=unread))) == "PASSED"
    assert told(allowed, replace(FACTS, candidate=replace(CANDIDATE, content=Content()))) == "ABSENT"
    assert expressions.compile(allowed, field="check").needs == {Need.FILES, Need.FORMATS}


AMOUNT, SCORE = CONTENT.schema.inputs[0], CONTENT.schema.outputs[0]  # type: ignore[union-attr]
EXTRA = SchemaField("extra", "string", (-1,))


@pytest.mark.parametrize(
    ("inputs", "outputs", "obstacle"),
    [
        ((AMOUNT,), (SCORE,), ""),
        ((AMOUNT, replace(EXTRA, optional=True)), (SCORE, EXTRA), ""),
        ((replace(AMOUNT, shape=(-1, -1)),), (replace(SCORE, shape=(1,)),), ""),
        ((replace(AMOUNT, optional=True),), (SCORE,), ""),
        ((AMOUNT, EXTRA), (SCORE,), "input extra is new and required"),
        ((), (SCORE,), "input amount is gone"),
        ((AMOUNT,), (), "output score is gone"),
        ((replace(AMOUNT, type="int64"),), (SCORE,), "input amount changed its type from float32 to int64"),
        ((replace(AMOUNT, shape=(1, 4)),), (SCORE,), "input amount changed its shape from [-1, 4] to [1, 4]"),
        ((replace(AMOUNT, shape=()),), (SCORE,), "input amount changed its shape from [-1, 4] to []"),
        (
            (AMOUNT,),
            (replace(SCORE, shape=(-1, -1)),),
            "output score changed its shape from [-1] to [-1, -1]",
        ),
        ((AMOUNT,), (replace(SCORE, optional=True),), "output score became optional"),
    ],
)
def test_a_schema_is_compatible_when_callers_see_no_difference(
    inputs: tuple[SchemaField, ...], outputs: tuple[SchemaField, ...], obstacle: str
) -> None:
    content = replace(CONTENT, schema=Schema(inputs, outputs))

    finding = found(
        "schema_compatible(candidate, incumbent)", replace(FACTS, candidate=side(7, content=content))
    )

    assert finding.passed == (not obstacle)
    assert obstacle in finding.message


def test_an_output_that_may_have_any_size_may_come_to_have_one_and_no_more() -> None:
    narrow = replace(CONTENT, schema=Schema((replace(AMOUNT, optional=True),), (replace(SCORE, shape=(1,)),)))

    facts = replace(FACTS, incumbent=side(6, content=narrow))

    finding = found("schema_compatible(candidate, incumbent)", facts)
    assert finding.message == (
        "input amount became required; output score changed its shape from [1] to [-1]."
    )


@pytest.mark.parametrize("without", ["candidate", "incumbent"])
def test_what_has_no_schema_is_not_compatible(without: str) -> None:
    facts = replace(FACTS, **{without: side(6, content=replace(CONTENT, schema=None))})

    assert told("schema_compatible(candidate, incumbent)", facts) == "ABSENT"


def test_a_check_says_what_has_to_be_gathered_for_it() -> None:
    def needs(expression: str) -> frozenset[Need]:
        return expressions.compile(expression, field="check").needs

    assert needs("candidate.number > 1") == frozenset()
    assert needs("candidate.size_bytes > 1") == {Need.FILES}
    assert needs('incumbent.files.all(f, f.format == "onnx")') == {Need.FILES, Need.FORMATS, Need.INCUMBENT}
    assert needs('candidate.has_metric("f1")') == {Need.MEASUREMENTS}
    assert needs('better("f1", 0)') == {Need.MEASUREMENTS, Need.INCUMBENT}


def test_more_files_than_loops_go_round_exceed_the_budget() -> None:
    files = tuple(File(f"f{number}", WEIGHTS, 1) for number in range(10_000))
    facts = replace(FACTS, candidate=replace(CANDIDATE, content=Content(files=files)))

    assert told("candidate.files.all(f, f.size_bytes > 0)", facts) == "BUDGET_EXCEEDED"
    assert told('file_formats() == ["safetensors"]', facts) == "PASSED"
    fewer = replace(facts, candidate=replace(CANDIDATE, content=Content(files=files[1:])))
    assert told("candidate.files.all(f, f.size_bytes > 0)", fewer) == "PASSED"


def test_a_mistake_of_ours_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.Run, "_found", None)

    with pytest.raises(TypeError):
        found('better("precision@holdout", 0.0) || true')


def test_threads_share_a_check_and_each_sees_its_own_facts() -> None:
    program = expressions.compile('candidate.metric("precision@holdout") > 0.5', field="check")
    wrong: list[float] = []

    def work(value: float) -> None:
        facts = replace(FACTS, candidate=side(7, measured(precision=value)))
        findings = (program.run(facts) for _ in range(200))
        wrong.extend(value for each in findings if each.passed != (value > 0.5))

    threads = [threading.Thread(target=work, args=(value,)) for value in (0.1, 0.9, 0.2, 0.8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong


def test_a_thread_keeps_nothing_of_a_run() -> None:
    facts = replace(FACTS, candidate=replace(CANDIDATE))
    kept = weakref.ref(facts.candidate)
    assert told('candidate.metric("precision") > 0.5', facts) == "PASSED"

    del facts

    assert kept() is None


def test_the_start_of_the_server_does_not_load_the_library() -> None:
    program = (
        "import sys, steelyard_server.server, steelyard_server.core.policies.expressions as e\n"
        "assert 'cel_expr_python' not in sys.modules\n"
        "e.compile('1 < 2', field='check')\n"
        "assert 'cel_expr_python' in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_incumbent_of_these_tests_is_worse() -> None:
    assert told('better("precision@holdout", 0.0)', Facts(INCUMBENT, CANDIDATE, MODEL, NOW)) == "FALSE"
