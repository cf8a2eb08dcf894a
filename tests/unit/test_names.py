"""What names, references and texts may look like, one row for each rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest

from steelyard_server import errors
from steelyard_server.core import names
from steelyard_server.limits import LIMITS

UUID = "6f1c2c34-8a5e-4b1e-9f63-0d0c1f6a5d11"
DIGEST = "sha256:" + "0123456789abcdef" * 4
ARABIC_THREE = "\u0663"
DECOMPOSED = "e\u0301"

Check = Callable[..., object]
Refusal = type[errors.InvalidArgument]


@pytest.mark.parametrize("text", ["a", "0", "risk", "risk.eu-1_x", "a" * 128])
def test_a_namespace_may_be_called(text: str) -> None:
    assert names.namespace(text) == text


@pytest.mark.parametrize(
    "text", ["Risk", "-a", "a-", ".a", "a.", "a b", "a/b", "a:b", "é", "a\n", "\0", ARABIC_THREE]
)
def test_a_namespace_may_not_be_called(text: str) -> None:
    with pytest.raises(errors.InvalidName) as refused:
        names.namespace(text)
    assert refused.value.field == "namespace"
    assert refused.value.metadata["pattern"] == LIMITS.name_pattern


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("risk/fraud", ("risk", "fraud")),
        ("risk/Fraud Detector (v2)", ("risk", "Fraud Detector (v2)")),
        ("risk/日本語", ("risk", "日本語")),
        ("risk/🦉", ("risk", "🦉")),
        ("risk/...", ("risk", "...")),
        ("risk/" + "x" * 256, ("risk", "x" * 256)),
    ],
)
def test_a_model_may_be_called(text: str, parts: tuple[str, str]) -> None:
    assert names.model(text) == parts


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", errors.FieldRequired),
        ("risk/", errors.FieldRequired),
        ("/fraud", errors.FieldRequired),
        ("fraud", errors.InvalidResourceName),
        ("risk/fraud/x", errors.InvalidResourceName),
        ("Risk/fraud", errors.InvalidName),
        ("risk/a:b", errors.InvalidName),
        ("risk/a@b", errors.InvalidName),
        ("risk/a\\b", errors.InvalidName),
        ("risk/ a", errors.InvalidName),
        ("risk/a ", errors.InvalidName),
        ("risk/\u00a0a", errors.InvalidName),
        ("risk/a\0b", errors.InvalidName),
        ("risk/a\nb", errors.InvalidName),
        ("risk/a\u202eb", errors.InvalidName),
        ("risk/a\u200bb", errors.InvalidName),
        ("risk/" + DECOMPOSED, errors.InvalidName),
        ("risk/.", errors.ReservedName),
        ("risk/..", errors.ReservedName),
        ("risk/" + "x" * 257, errors.TooLong),
        ("con/fraud", errors.ReservedName),
    ],
)
def test_a_model_may_not_be_called(text: str, error: Refusal) -> None:
    with pytest.raises(error) as refused:
        names.model(text, field="version.model")
    assert refused.value.field == "version.model"


@pytest.mark.parametrize(
    "pair", [("Fraud", "fRAUD"), ("straße", "STRASSE"), ("Ω", "ω"), ("É", "é"), ("ﬁx", "FIX")]
)
def test_names_that_differ_only_by_letter_case_have_one_key(pair: tuple[str, str]) -> None:
    assert names.model_key(pair[0]) == names.model_key(pair[1])


@pytest.mark.parametrize("text", ["champion", "Champion", "v1.4", "1a", "a-b_c.d", "version1", "a" * 128])
def test_an_alias_may_be_called(text: str) -> None:
    assert names.alias(text) == text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", errors.FieldRequired),
        ("latest", errors.ReservedName),
        ("LATEST", errors.ReservedName),
        ("1", errors.InvalidName),
        ("007", errors.InvalidName),
        ("v12", errors.InvalidName),
        ("-a", errors.InvalidName),
        ("a.", errors.InvalidName),
        ("a b", errors.InvalidName),
        ("a@b", errors.InvalidName),
        ("ä", errors.InvalidName),
        ("a\n", errors.InvalidName),
        ("a" * 129, errors.TooLong),
        ("NUL.1", errors.ReservedName),
        ("null", errors.ReservedName),
    ],
)
def test_an_alias_may_not_be_called(text: str, error: Refusal) -> None:
    with pytest.raises(error):
        names.alias(text)


@pytest.mark.parametrize("text", ["f1", "val/f1-score", "precision at 5", "日本", "x" * 250])
def test_a_key_may_be(text: str) -> None:
    assert names.key(text, field="name") == text


@pytest.mark.parametrize("text", [" f1", "f1 ", "a\nb", "a\u202eb", DECOMPOSED])
def test_a_key_may_not_be(text: str) -> None:
    with pytest.raises(errors.InvalidName):
        names.key(text, field="name")


@pytest.mark.parametrize(
    "text", ["0.0.0", "1.4.0", "10.20.30", "1.0.0-alpha.1", "1.0.0-0a", "1.0.0+build.5", "1.0.0-rc.1+x"]
)
def test_a_semantic_version_may_be(text: str) -> None:
    assert names.semantic_version(text, field="semantic_version") == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0 ", "1.0.0-é"],
)
def test_a_semantic_version_may_not_be(text: str) -> None:
    with pytest.raises(errors.SemanticVersionInvalid):
        names.semantic_version(text, field="semantic_version")


@pytest.mark.parametrize(
    ("check", "text", "error"),
    [
        (names.digest, "", errors.DigestInvalid),
        (names.digest, DIGEST.upper(), errors.DigestInvalid),
        (names.digest, DIGEST[:-1], errors.DigestInvalid),
        (names.digest, DIGEST + "\n", errors.DigestInvalid),
        (names.digest, DIGEST.replace("sha256", "md5"), errors.DigestInvalid),
        (names.upload_id, "", errors.FieldRequired),
        (names.upload_id, "../a", errors.InvalidName),
        (names.request_id, "", errors.RequestIdInvalid),
        (names.request_id, UUID.replace("-", ""), errors.RequestIdInvalid),
        (names.request_id, "{" + UUID + "}", errors.RequestIdInvalid),
        (names.request_id, "urn:uuid:" + UUID, errors.RequestIdInvalid),
        (names.request_id, UUID[:-1] + "g", errors.RequestIdInvalid),
        (names.etag, "x", errors.EtagInvalid),
        (names.etag, "-1", errors.EtagInvalid),
        (names.etag, "1" * 20, errors.EtagInvalid),
        (names.etag, ARABIC_THREE, errors.EtagInvalid),
        (names.description, "a\0b", errors.ControlCharacters),
        (names.description, "x" * (LIMITS.description_bytes + 1), errors.TooLong),
        (names.description, "é" * (LIMITS.description_bytes // 2 + 1), errors.TooLong),
        (names.reason, "x" * (LIMITS.reason_bytes + 1), errors.TooLong),
    ],
)
def test_a_malformed_text_is_refused_with_its_field(check: Check, text: str, error: Refusal) -> None:
    with pytest.raises(error) as refused:
        check(text, field="here")
    assert refused.value.field == "here"
    assert len(refused.value.message) < 400


@pytest.mark.parametrize(
    ("check", "text", "value"),
    [
        (names.digest, DIGEST, DIGEST),
        (names.upload_id, "run-7_a.b", "run-7_a.b"),
        (names.request_id, UUID.upper(), UUID),
        (names.etag, "", None),
        (names.etag, "42", 42),
        (names.description, "two\r\n\tlines", "two\r\n\tlines"),
        (names.description, "x" * LIMITS.description_bytes, "x" * LIMITS.description_bytes),
    ],
)
def test_a_right_text_is_returned(check: Check, text: str, value: object) -> None:
    assert check(text, field="here") == value


@pytest.mark.parametrize(
    ("labels", "error"),
    [
        ({" team": "risk"}, errors.InvalidName),
        ({"": "risk"}, errors.FieldRequired),
        ({"team": "a\nb"}, errors.ControlCharacters),
        ({"team": "x" * (LIMITS.label_value_bytes + 1)}, errors.LimitExceeded),
        ({"k" * (LIMITS.key_characters + 1): ""}, errors.LimitExceeded),
        ({"Team": "a", "tEAM": "b"}, errors.DuplicateKey),
        ({f"key{number}": "" for number in range(LIMITS.labels_count + 1)}, errors.LimitExceeded),
        ({f"key{number}": "x" * LIMITS.label_value_bytes for number in range(16)}, errors.LimitExceeded),
    ],
)
def test_labels_are_checked_one_by_one_and_in_sum(labels: Mapping[str, str], error: Refusal) -> None:
    with pytest.raises(error):
        names.labels(labels)


def test_a_number_outside_its_bounds_is_refused_with_both() -> None:
    assert [names.number(value, field="n", maximum=3) for value in (0, 3)] == [0, 3]
    for value in (-1, 4, 2**80):
        with pytest.raises(errors.OutOfBounds) as refused:
            names.number(value, field="n", maximum=3)
        assert refused.value.metadata == {"minimum": "0", "maximum": "3"}


def test_a_repeated_key_is_refused_by_name() -> None:
    names.distinct(["a", "A", "b"], field="metrics")
    with pytest.raises(errors.DuplicateKey) as refused:
        names.distinct(["a", "b", "a"], field="metrics")
    assert refused.value.metadata["key"] == "a"


@pytest.mark.parametrize("text", ["a\u202eb", "a\0b", "\x1b[31m", "é", "x" * 5000])
def test_an_error_shows_little_of_an_input_and_nothing_invisible(text: str) -> None:
    assert re.fullmatch(r"'[ -~]{1,640}…?'", names.quoted(text))
