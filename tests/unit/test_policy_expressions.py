"""Expressions of checks when they are written: what is refused, where, and how large a check may get."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard_server.core.content import Content, File
from steelyard_server.core.policies import bounds, engine, expressions, language
from steelyard_server.core.policies.findings import Finding, WithoutIncumbent
from steelyard_server.errors import InvalidArgument, PolicyInvalid
from steelyard_server.limits import LIMITS
from tests.unit.policy_facts import CANDIDATE, FACTS, FIRST, WEIGHTS


@pytest.mark.parametrize(
    ("expression", "column", "message"),
    [
        ("candidate.number >", 19, "mismatched input '<EOF>'"),
        ("1", 1, "the check is of type int, and must be a bool"),
        ('candidate.parameters["x"]', 1, "the check is of type dyn"),
        ('candidate.number == "7"', 18, "`==` does not take (int, string)"),
        ("candidate.number > 0.5", 18, "write 1.0 instead of 1 for a double"),
        ('better("f1")', 1, "write better(string, double) or better(string, int)"),
        ('better("f1", "0.1")', 1, "`better` does not take (string, string)"),
        ('true && best("f1", 1)', 9, "`best` is not known here"),
        ("challenger.number == 1", 1, "`challenger.number` is not known here"),
        ("candidate.nummer == 1", 10, "candidate has no 'nummer'; it has number, digest"),
        ("has(candidate.nummer)", 1, "candidate has no 'nummer'"),
        ("incumbent.x.y == 1", 10, "incumbent has no 'x'"),
        ("model.x == 1", 6, "model has no 'x'; it has name"),
        ('candidate.framework.nam == "a"', 20, "framework has no 'nam'; it has name, version"),
        ('candidate.source["nam"] == "a"', 17, "source has no 'nam'; it has repository"),
        ('candidate.files.all(f, f.fmt == "a")', 25, "a file has no 'fmt'; it has path"),
        ('candidate.files.all(f, f["fmt"] == "a")', 25, "a file has no 'fmt'"),
        ("candidate.files.all(f, f[f.path] == 1)", 27, "the fields of a file are named here as texts"),
        ("candidate.files.filter(f, has(f.fmt)).size() == 0", 27, "a file has no 'fmt'"),
        ("candidate.parameters.a.b == 1", 23, "this has no members"),
        ("has(candidate.semantic_version)", 1, "`has` asks for a member of a map"),
        ("has(candidate.files)", 1, "`has` asks for a member of a map"),
        ("candidate == incumbent", 1, "name what of it: candidate.number"),
        ('candidate["number"] == 1', 1, "name what of it"),
        ("schema_compatible(incumbent, incumbent)", 1, "write schema_compatible(candidate, incumbent)"),
        ('better("a@@b", 0.1)', 8, "'a@@b' names no metric"),
        ('candidate.metric("") > 1.0', 18, "names no metric"),
        ('now > timestamp("yesterday")', 17, "String to Timestamp conversion failed"),
        ('now - now < duration("1 day")', 22, "String to Duration conversion failed"),
        ('candidate.digest.matches("(")', 26, "invalid regular expression"),
        ("candidate.digest.matches(candidate.creator)", 1, "the pattern of `matches` is written here"),
        ("dyn(1) == 1", 1, "'dyn' is no function of checks"),
        ("type(1) == type(2)", 1, "'type' is no function of checks"),
        ('string(1) == "1"', 1, "'string' is no function of checks"),
        ('candidate.creator + "x" == "y"', 19, "joins no texts and no lists"),
        ("[1] + [2] == [1]", 5, "joins no texts and no lists"),
        ("candidate.parameters.a + candidate.parameters.b == 2", 24, "joins no texts and no lists"),
        ("[[1]] == [[1]]", 2, "holds single values only"),
        ("[candidate.files].size() == 1", 11, "holds single values only"),
        ("[candidate.parameters.a].size() == 1", 22, "holds single values only"),
        ('{"a": 1}.size() == 1', 1, "a check builds no maps"),
        ("google.protobuf.Int64Value{value: 1} == 1", 1, "a check builds no maps and no messages"),
        ("[1].map(x, x + 1) == [2]", 4, "`map` is not there; there are all, exists, exists_one, filter"),
        ("[1].map(x, x > 0, x + 1) == [2]", 4, "`map` is not there"),
        ("[1].all(now, now == 1)", 4, "now has a meaning"),
        ('candidate.metric("a") > incumbent.metric("b")', 23, "of one metric, written the same on both"),
        ('1.0 < candidate.metric("a@x") / incumbent.metric("a@y")', 31, "of one metric"),
        ('["a"].all(m, candidate.metric(m) > incumbent.metric("a"))', 34, "of one metric"),
        ('[incumbent.metric("a")].all(x, candidate.metric("b") > x)', 24, "of one metric"),
        ("candidate.metric(model.labels.a) > incumbent.metric(model.labels.b)", 34, "of one metric"),
        ("candidate.metric(candidate.labels.a) > incumbent.metric(incumbent.labels.a)", 38, "of one metric"),
        ("true &&\n  best(1)", 11, "`best` is not known here"),
        ("\U0001f600", 1, "token recognition error"),
        ('"\U0001f600" == candidate.number', 5, "`==` does not take (string, int)"),
        ("(" * 200, 1, "nested more than 32 deep"),
        ("candidate" + ".a" * 200, 1, "nested more than 32 deep"),
    ],
)  # fmt: skip
def test_what_is_no_check_is_refused_with_its_place(expression: str, column: int, message: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        expressions.compile(expression, field="policy.checks[0].expression")

    assert message in caught.value.message
    assert caught.value.field == "policy.checks[0].expression"
    assert (caught.value.reason, caught.value.metadata["column"]) == ("POLICY_INVALID", str(column))


@pytest.mark.parametrize("text", ["", "  \n", "\x00", "true " + "&& true" * 1000])
def test_what_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        expressions.compile(text, field="check")


FILES = "candidate.files.all({}, {})"


@pytest.mark.parametrize(
    "expression",
    [
        FILES.format("f", FILES.format("g", "true")),
        FILES.format("f", "f in candidate.files"),
        FILES.format("f", "candidate.files == incumbent.files"),
        FILES.format("f", 'candidate.description.matches("a")'),
        FILES.format("f", 'f.path.matches("a{500}")'),
        FILES.format("f", 'f.path.matches("' + "." * 1200 + 'a")'),
        FILES.format("f", "candidate.files.filter(g, g.size_bytes > f.size_bytes).size() == 0"),
        "model.labels.all(l, candidate.parameters.all(p, candidate.parameters[p] == model.labels[l]))",
    ],
)
def test_what_may_take_too_long_is_refused(expression: str) -> None:
    with pytest.raises(PolicyInvalid, match=r"may take [0-9]+ steps, and a check at most 20000000"):
        expressions.compile(expression, field="check")


@pytest.mark.parametrize(
    "expression",
    [
        FILES.format("f", 'f.path.matches("^[a-z/]+[.](json|onnx)$") && f.format in ["a", "b", "c"]'),
        "candidate.files == incumbent.files",
        'candidate.metric("a") > 0.9 && incumbent.metric("b") > 0.9 || !(incumbent.metric("c") > 0.5)',
        "candidate.metric(model.labels.main) >= 0.99 * incumbent.metric(model.labels.main)",
        'candidate.description.matches("(a|b)*c")',
        " && ".join(["better('precision@holdout', 0.01)"] * 100),
    ],
)
def test_what_people_write_is_within_bounds(expression: str) -> None:
    expressions.compile(expression, field="check")


# Parts that fit together often enough to get far, and badly often enough to try what is refused.
NUMBERS = st.sampled_from(
    [
        "1",
        "0",
        "-5",
        "0.5",
        "9223372036854775807",
        "candidate.number",
        "candidate.size_bytes",
        "f.size_bytes",
        'candidate.metric("precision@holdout")',
        "candidate.files.size()",
        "candidate.parameters.depth",
        "x",
    ]
)
TEXTS = st.sampled_from(
    [
        '"a"',
        "candidate.digest",
        "candidate.labels.team",
        "f.path",
        "f",
        "x",
        "model.name",
        r"'\ud800'",
        "b'a'",
        'candidate.evaluator("precision")',
        "incumbent.creator",
    ]
)
LISTS = st.sampled_from(
    [
        "candidate.files",
        "[1, 2]",
        '["a"]',
        "file_formats()",
        "model.owners",
        "candidate.labels",
        "[]",
        "{}",
        "incumbent.files",
        "candidate.parameters",
    ]
)
TRUTHS = st.one_of(
    st.sampled_from(
        [
            "true",
            'better("precision@holdout", 0.0)',
            "has(candidate.labels.x)",
            "null == null",
            "schema_compatible(candidate, incumbent)",
            'candidate.has_metric("f1")',
        ]
    ),
    st.builds("{} {} {}".format, NUMBERS, st.sampled_from(["<", "==", "/", "%", "in", "+"]), NUMBERS),
    st.builds("{} {} {}".format, TEXTS, st.sampled_from(["==", "<", "in", "+", "!="]), TEXTS),
    st.builds("{}.{}({})".format, TEXTS, st.sampled_from(["matches", "contains", "size", "all"]), TEXTS),
    st.builds(
        "{}({}) == {}".format, st.sampled_from(["timestamp", "duration", "int", "dyn"]), TEXTS, NUMBERS
    ),
    st.builds("{} in {}".format, TEXTS, LISTS),
)
EXPRESSIONS = st.recursive(
    TRUTHS,
    lambda inner: st.one_of(
        st.builds("({}) {} ({})".format, inner, st.sampled_from(["&&", "||", "==", "!="]), inner),
        st.builds("!({})".format, inner),
        st.builds("({}) ? ({}) : ({})".format, inner, inner, inner),
        st.builds(
            "{}.{}({}, {})".format,
            LISTS,
            st.sampled_from(["all", "exists", "exists_one", "map"]),
            st.sampled_from(["f", "x"]),
            inner,
        ),
        st.builds("{}.filter(f, {}).size() == {}".format, LISTS, inner, NUMBERS),
    ),
    max_leaves=8,
)
MANY = replace(
    CANDIDATE,
    content=Content(files=tuple(File(f"directory/file-{number}", WEIGHTS, number) for number in range(2000))),
    labels={f"l{number}": "a" * 4096 for number in range(256)},
)


def outcome(expression: str) -> Finding | None:
    """Run a check on small and on large facts, with and without an incumbent; None where it is refused."""
    try:
        program = expressions.compile(expression, field="check")
    except InvalidArgument:
        return None
    begun = time.thread_time()
    finding = None
    for facts in (FACTS, FIRST, replace(FACTS, candidate=MANY, incumbent=MANY)):
        for without in WithoutIncumbent:
            finding = program.run(facts, without_incumbent=without)
            assert finding.message.endswith(".")
    # Not how fast it is but that it ends: the budget of one run is a second.
    assert time.thread_time() - begun < 10
    return finding


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_every_expression_is_refused_or_ends_with_a_finding(expression: str) -> None:
    outcome(expression)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_every_text_is_refused_or_ends_with_a_finding(text: str) -> None:
    outcome(text)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [*list("()[]{}.,?:!+-*/%<>=&|\"'\\@ \n"), "candidate", "1", "in", "has", "f", ".all("]
        ),
        max_size=40,
    )
)
def test_every_row_of_signs_is_refused_or_ends_with_a_finding(signs: list[str]) -> None:
    outcome("".join(signs))


def test_the_generator_of_these_tests_makes_checks_that_run() -> None:
    ran = []

    @settings(max_examples=100, deadline=None, database=None, derandomize=True)
    @given(EXPRESSIONS)
    def some(expression: str) -> None:
        ran.append(outcome(expression) is not None)

    some()

    assert sum(ran) > 10


def test_the_library_knows_all_that_checks_may_use() -> None:
    for name in language.VALUES:
        kind = language.VALUES[name].type
        empty = '""' if kind == "string" else "0" if kind == "int" else name
        expressions.compile(f"{name} == {empty}", field="check")
    for function in language.FUNCTIONS:
        arguments = {"string": '"f1"', "double": "0.5", "int": "1"}
        given_ = ", ".join(arguments.get(each, "") for each in function.parameters)
        if function.name == language.SCHEMA_COMPATIBLE:
            given_ = "candidate, incumbent"
        call = f"{function.name}({given_})"
        expressions.compile(f"{call} == {call}", field="check")


def test_a_loop_ends_where_the_bounds_say() -> None:
    listed = "[" + ", ".join(["1"] * 101) + "]"
    program = expressions.compile(f"{listed}.all(x, {listed}.all(y, x == y))", field="check")

    assert program.run(FACTS).reason == "BUDGET_EXCEEDED"
    assert engine.ROUNDS_COUNT < 101 * 101
    assert LIMITS.policy_steps_count == 20_000_000
    assert bounds.BYTES_A_STEP
