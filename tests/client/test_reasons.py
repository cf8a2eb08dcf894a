"""Every reason of the server is a class, and its exception says all that the server said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import steelyard
from steelyard import errors, reasons
from steelyard.v1 import error_reason_pb2
from tests.client.trees import MODEL, write_tree
from tests.client.waiting import until
from tests.servers import ServerProcess

PREFIX = "ERROR_REASON_"
REASONS = [
    name.removeprefix(PREFIX)
    for name in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118  it is no dictionary
    if not name.endswith("_UNSPECIFIED")
]


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_is_one_class_below_the_branch_of_its_status(reason: str) -> None:
    kind = reasons.BY_REASON[reason]
    assert kind.reason == reason
    assert kind.__name__.lower() in {reason.replace("_", "").lower(), "internalerror"}
    assert kind.__base__ in {*errors.BRANCHES.values(), errors.Internal}
    assert kind.__doc__


def test_no_class_has_a_reason_that_the_server_does_not_know() -> None:
    assert sorted(reasons.BY_REASON) == sorted(REASONS)


def test_a_refused_call_says_reason_metadata_field_and_the_call_in_the_log(
    client: steelyard.Client, shared: ServerProcess
) -> None:
    with pytest.raises(reasons.ModelNotFound) as refused:
        client.models.get("missing")
    error = refused.value
    assert isinstance(error, errors.NotFound)
    assert error.reason == "MODEL_NOT_FOUND"
    assert error.metadata["model"].endswith("/missing")
    assert "missing" in error.message
    assert str(error) == error.message
    assert error.call_id
    # The line is written when the answer is on its way.
    until(lambda: f'"{error.call_id}"' in shared.log())
    lines = [json.loads(line) for line in shared.log().splitlines() if f'"{error.call_id}"' in line]
    assert [line["reason"] for line in lines] == ["MODEL_NOT_FOUND"]


def test_a_wrong_field_is_named(client: steelyard.Client) -> None:
    with pytest.raises(errors.InvalidArgument) as refused:
        client.models.create("fraud", labels={"": "x"})
    assert refused.value.field.startswith("labels")


def test_reasons_are_told_apart_where_the_status_is_the_same(
    client: steelyard.Client, tmp_path: Path
) -> None:
    client.push("fraud", write_tree(tmp_path / "model", MODEL), semantic_version="1.0.0")
    with pytest.raises(reasons.VersionNotFound):
        client.get("fraud:7")
    with pytest.raises(reasons.AliasNotFound):
        client.get("fraud@champion")
    with pytest.raises(reasons.ModelNotFound):
        client.get("scam")
    with pytest.raises(reasons.NamespaceNotFound):
        client.get("nowhere/fraud")
    client.aliases.set("fraud:1", "champion")
    with pytest.raises(reasons.NoRollbackTarget):
        client.aliases.rollback("fraud", "champion")
    with pytest.raises(reasons.SemanticVersionAlreadyExists):
        client.push("fraud", write_tree(tmp_path / "other", {"a": b"a"}), semantic_version="1.0.0")


def test_a_stale_etag_is_a_lost_race(client: steelyard.Client) -> None:
    before = client.models.create("fraud")
    client.models.update("fraud", description="new", etag=before.etag)
    with pytest.raises(reasons.EtagMismatch) as refused:
        client.models.update("fraud", description="newer", etag=before.etag)
    assert isinstance(refused.value, errors.Aborted)


def test_all_exceptions_are_one_family() -> None:
    for kind in (*reasons.BY_REASON.values(), errors.Unreachable, errors.FileChanged, errors.DownloadCorrupt):
        assert issubclass(kind, steelyard.SteelyardError)
