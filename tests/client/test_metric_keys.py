"""Metrics are written as text and read back as the same name, dataset and slice."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from steelyard import errors
from steelyard.metric_keys import MetricKey, parse

# As the server takes them: some characters, none of them a line break.
PARTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("precision", ("precision", "", "")),
        ("val/f1-score", ("val/f1-score", "", "")),
        ("precision@holdout", ("precision", "holdout", "")),
        ("precision@holdout[region=EU]", ("precision", "holdout", "region=EU")),
        ("a@b[x=[1]]", ("a", "b", "x=[1]")),
        ('"top@5"', ("top@5", "", "")),
        ('"top@5"@"set [2]"[age≥40]', ("top@5", "set [2]", "age≥40")),
        ('"say \\"hi\\""', ('say "hi"', "", "")),
        ("back\\slash", ("back\\slash", "", "")),
        ("a b", ("a b", "", "")),
    ],
)
def test_text_names_a_metric(text: str, expected: tuple[str, str, str]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "@", "a@", "@b", "a@b@c", "a[x]", "a@b[]", "a@b[x", 'a"b', '"a', '"\\x"', '""', 'a@""']
)
def test_text_that_names_no_metric_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        parse(text)


@given(PARTS, PARTS | st.just(""), PARTS | st.just(""))
def test_every_key_reads_back_as_itself(name: str, dataset: str, part: str) -> None:
    assume(dataset or not part)
    key = MetricKey(name, dataset, part)
    assert parse(str(key)) == key
