"""What cannot be imported is refused before anything changes, also when only a later batch has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import steelyard
from steelyard import errors, reasons
from steelyard.bundle import evaluations
from tests.client.bundles.conftest import into, many
from tests.client.bundles.crafted import Members, edited, members_of, with_manifest, write
from tests.client.trees import write_tree

# Two batches: the last version comes in the second one.
COUNT = 50


@pytest.fixture
def two_batches(client: steelyard.Client, tmp_path: Path) -> Path:
    many(client, COUNT, semantic_versions={0: "1.0.0"})
    return client.export_bundle("many", tmp_path / "many.bundle").path


def crafted(path: Path, edit: Callable[[Members, Any], Any], *, name: str = "crafted") -> Path:
    """Write a bundle whose last version is another."""
    members = members_of(path)
    line = COUNT - 1
    return write(
        path.parent / name,
        edited(members, "versions.jsonl", lambda facts: edit(members, facts), line=line),
    )


def version(members: Members, *, line: int) -> Any:
    return json.loads(members["versions.jsonl"].splitlines()[line])


def climbing(members: Members, facts: Any) -> Any:
    manifest = json.loads(facts["manifest"])
    manifest["files"][0]["path"] = "../config.json"
    return with_manifest(facts, json.dumps(manifest, separators=(",", ":")))


def same_content(members: Members, facts: Any) -> Any:
    return with_manifest(facts, version(members, line=1)["manifest"])


def same_semantic_version(members: Members, facts: Any) -> Any:
    return facts | {"version": facts["version"] | {"semanticVersion": "1.0.0"}}


def same_key(members: Members, facts: Any) -> Any:
    return facts | {"version": facts["version"] | {"idempotencyKey": "run 1"}}


def with_spaces(members: Members, facts: Any) -> Any:
    """Say the same in a manifest as no server writes it."""
    return with_manifest(facts, facts["manifest"].replace('{"', '{ "', 1))


def with_key_in_the_first_batch(path: Path) -> Path:
    def give(facts: Any) -> Any:
        return facts | {"version": facts["version"] | {"idempotencyKey": "run 1"}}

    return write(path.parent / "keyed", edited(members_of(path), "versions.jsonl", give, line=3))


def require_nothing(client: steelyard.Client, *, before: int) -> None:
    """Demand that neither a model, nor a version, nor a byte came."""
    assert client.server_info().sequence == before
    assert list(client.models.list()) == []
    assert client.namespaces.get(client.references.namespace).usage.size_bytes == 0


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (climbing, r"many:50 cannot be imported.*'\.\./config\.json', which leads out"),
        (same_content, r"many:50 with the digest of version 2"),
        (same_semantic_version, r"many:50 with the semantic version of version "),
        (same_key, r"many:50 with the idempotency key of version 4"),
    ],
)
def test_a_later_version_that_cannot_be_is_seen_in_the_file(
    there: steelyard.Client, two_batches: Path, edit: Callable[[Members, Any], Any], why: str
) -> None:
    path = crafted(with_key_in_the_first_batch(two_batches), edit)
    there.namespaces.create(there.references.namespace)
    before = there.server_info().sequence
    with pytest.raises(errors.BundleInvalid, match=why):
        there.read_bundle(path)
    with pytest.raises(errors.BundleInvalid, match=why):
        there.import_bundle(path, into=into(there))
    require_nothing(there, before=before)


def test_a_report_climbs_nowhere_either(fraud: steelyard.Client, bundle: Path, tmp_path: Path) -> None:
    def climb(facts: Any) -> Any:
        return facts | {"report": facts["report"] | {"path": "../report.html"}}

    path = write(tmp_path / "climbing", edited(members_of(bundle), "evaluations.jsonl", climb))
    with pytest.raises(errors.BundleInvalid, match=r"fraud:1 .*'\.\./report\.html'"):
        fraud.read_bundle(path)


def test_different_models_may_have_the_same(
    client: steelyard.Client, there: steelyard.Client, tmp_path: Path
) -> None:
    tree = write_tree(tmp_path / "model", {"a": b"a"})
    client.push("two", write_tree(tmp_path / "other", {"a": b"other"}))
    for name in ("one", "two"):
        client.push(name, tree, semantic_version="1.0.0", idempotency_key="run 1")
    path = client.export_bundle(["one", "two"], tmp_path / "both").path
    done = there.import_bundle(path, into=into(there))
    assert [model.created_count for model in done.models] == [1, 2]


@pytest.mark.parametrize(
    ("quota", "figures"),
    [
        (
            steelyard.Quota(versions_count=COUNT - 1),
            {"quota": "versions_count", "allowed": "49", "used": "0", "asked": "50"},
        ),
        (
            steelyard.Quota(size_bytes=3),
            {"quota": "size_bytes", "allowed": "3", "used": "0", "asked": "4"},
        ),
    ],
)
def test_a_quota_is_looked_at_before_anything_comes(
    there: steelyard.Client, two_batches: Path, quota: steelyard.Quota, figures: dict[str, str]
) -> None:
    namespace = there.references.namespace
    there.namespaces.create(namespace, quota=quota)
    before = there.server_info().sequence
    with pytest.raises(reasons.QuotaExceeded) as caught:
        there.import_bundle(two_batches, into=into(there))
    assert caught.value.metadata == figures | {"namespace": namespace}
    require_nothing(there, before=before)


def test_a_quota_counts_all_models_of_a_bundle_and_only_what_is_new(
    client: steelyard.Client, there: steelyard.Client, two_batches: Path, tmp_path: Path
) -> None:
    client.push("few", write_tree(tmp_path / "few", {"many": b"many"}))
    both = client.export_bundle(["few", "many"], tmp_path / "both").path
    namespace = there.references.namespace
    there.namespaces.create(namespace, quota=steelyard.Quota(size_bytes=4, versions_count=COUNT))
    with pytest.raises(reasons.QuotaExceeded):
        there.import_bundle(both, into=into(there))
    assert list(there.models.list()) == []
    there.import_bundle(two_batches, into=into(there))
    before = there.server_info().sequence
    assert not there.import_bundle(two_batches, into=into(there)).changed
    with pytest.raises(reasons.QuotaExceeded):
        there.import_bundle(both, into=into(there))
    assert there.server_info().sequence == before


def test_what_only_the_server_can_refuse_is_told_with_how_far_the_import_came(
    there: steelyard.Client, two_batches: Path
) -> None:
    path = crafted(two_batches, with_spaces)
    name = there.references.model("many")
    with pytest.raises(reasons.DigestMismatch) as caught:
        there.import_bundle(path, into=into(there))
    said = caught.value.message
    assert said.startswith(f"Versions 41-50 of {name}: ")
    assert said.endswith("So far 40 of its versions are there; the same import goes on from there.")
    assert caught.value.metadata
    assert caught.value.call_id
    assert there.import_bundle(two_batches, into=into(there)).models[0].created_count == 10


def test_it_is_known_before_anything_changes_when_the_model_is_there(
    there: steelyard.Client, two_batches: Path
) -> None:
    there.namespaces.create(there.references.namespace)
    there.models.create("many")
    before = there.server_info().sequence
    with pytest.raises(reasons.DigestMismatch, match=r"^Versions 41-50 of .* This import changed nothing\.$"):
        there.import_bundle(crafted(two_batches, with_spaces), into=into(there))
    assert there.server_info().sequence == before


def test_evaluations_that_break_off_go_on_in_their_order(
    client: steelyard.Client, there: steelyard.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several portions of several versions, of which the first import brings some."""
    monkeypatch.setattr(evaluations, "PORTION_BYTES", 2000)
    many(client, 3)
    for value in range(12):
        for number in (1, 2, 3):
            client.evaluations.record(f"many:{number}", {"f1": value}, description=str(value))
    whole = client.export_bundle("many", tmp_path / "whole").path
    members = members_of(whole)
    lines = members["evaluations.jsonl"].splitlines(keepends=True)
    some = members | {"evaluations.jsonl": b"".join(lines[:20])}
    done = there.import_bundle(write(tmp_path / "some", some), into=into(there))
    assert done.models[0].evaluation_count == 20
    done = there.import_bundle(whole, into=into(there))
    assert done.models[0].evaluation_count == 16
    for number in (1, 2, 3):
        listed = sorted(there.evaluations.list(f"many:{number}"), key=lambda each: each.message.sequence)
        assert [each.description for each in listed] == list(map(str, range(12)))


def test_an_evaluation_that_is_refused_is_told_with_its_version(
    there: steelyard.Client, bundle: Path, tmp_path: Path
) -> None:
    there.import_bundle(bundle, into=into(there))

    def lie(facts: Any) -> Any:
        facts["metrics"][0]["value"] = 0.99
        return facts

    false = write(tmp_path / "false", edited(members_of(bundle), "evaluations.jsonl", lie, line=1))
    with pytest.raises(reasons.EvaluationAlreadyExists) as caught:
        there.import_bundle(false, into=into(there))
    said = caught.value.message
    assert said.startswith(f"Evaluations of version 1 of {there.references.model('fraud')}: ")
    assert "So far 3 of its versions are there" in said
