"""What goes from one registry into another arrives as it was, says that it was imported, and once only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import steelyard
from steelyard import errors, reasons
from steelyard.bundle import contents
from steelyard.types import Evaluation, Version
from tests.client.bundles.conftest import Phases, into, many
from tests.client.bundles.crafted import edited, members_of, write
from tests.client.trees import remains, tree_of, write_tree

SAME = (
    "number", "digest", "parameters", "files", "datasets", "parents", "source", "framework", "schema",
    "file_count", "size_bytes", "description", "labels", "aliases", "semantic_version", "idempotency_key",
)  # fmt: skip
SAME_OF_EVALUATION = ("digest", "number", "datasets", "evaluate_time", "uri", "report", "description")


def same(version: Version) -> dict[str, Any]:
    """Return what must be equal in both registries; NaN is not, but its text is."""
    return {name: getattr(version, name) for name in SAME} | {"metrics": str(version.metrics)}


def same_of(evaluation: Evaluation) -> dict[str, Any]:
    told = {name: getattr(evaluation, name) for name in SAME_OF_EVALUATION}
    return told | {"metrics": str(evaluation.metrics), "superseded": evaluation.superseded}


def sequence(client: steelyard.Client) -> int:
    return client.server_info().sequence


def test_a_model_arrives_as_it_was(
    fraud: steelyard.Client, there: steelyard.Client, bundle: Path, tmp_path: Path
) -> None:
    done = there.import_bundle(bundle, into=into(there))
    (model,) = done.models
    assert (model.model_created, model.created_count, model.evaluation_count) == (True, 3, 3)
    assert model.numbers == {1: 1, 2: 2, 4: 4}
    assert set(model.aliases) == {"champion", "Baseline"}
    assert done.changed
    ours, theirs = fraud.models.get("fraud"), there.models.get("fraud")
    for name in ("description", "labels", "owners", "metric_directions"):
        assert getattr(ours, name) == getattr(theirs, name)
    for number in (1, 2, 4):
        reference = f"fraud:{number}"
        assert same(there.get(reference)) == same(fraud.get(reference))
        assert there.versions.manifest(reference) == fraud.versions.manifest(reference)
        theirs_evaluated = list(map(same_of, there.evaluations.list(reference)))
        assert theirs_evaluated == list(map(same_of, fraud.evaluations.list(reference)))
        fraud.pull(reference, tmp_path / "a", overwrite=True)
        there.pull(reference, tmp_path / "b", overwrite=True)
        assert tree_of(tmp_path / "a") == tree_of(tmp_path / "b") != {}
    reported = [each for each in there.evaluations.list("fraud:1") if each.report]
    assert there.evaluations.read_report(reported[0]) == b"<h1>report</h1>"
    assert [version.number for version in there.versions.list("fraud", show_deleted=True)] == [1, 2, 4]


def test_what_is_imported_says_so(fraud: steelyard.Client, there: steelyard.Client, bundle: Path) -> None:
    there.import_bundle(bundle, into=into(there), reason="moved house")
    original, version = fraud.get("fraud:4"), there.get("fraud:4")
    registry = f"urn:uuid:{fraud.server_info().registry_uid}"

    assert version.origin == steelyard.types.Origin(
        "steelyard", registry, str(original), original.create_time, "ada", original.uid
    )
    assert version.import_time == version.create_time > original.create_time
    assert (version.creator.id, original.origin) == ("ivan", None)
    measured, recorded = next(there.evaluations.list("fraud:4")), next(fraud.evaluations.list("fraud:4"))
    assert measured.origin is not None
    assert (measured.origin.creator, measured.origin.uid) == ("ada", recorded.uid)
    assert measured.origin.create_time == recorded.create_time
    assert measured.evaluator.id == "ivan"
    found = [
        (event.action, event.texts.get("reason"))
        for event in there.events.list(there.references.model("fraud"))
    ]
    why = f"imported from {registry}: moved house"
    assert {reason for _, reason in found} == {why}
    assert sorted(action for action, _ in found) == [
        *("alias.set", "alias.set"),
        *("evaluation.import", "evaluation.import", "evaluation.import"),
        *("model.create", "version.import"),
    ]


def test_versions_of_a_large_bundle_are_read_again_instead_of_kept(
    client: steelyard.Client, there: steelyard.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many(client, 50)
    client.push("few", write_tree(tmp_path / "few", {"a": b"few"}))
    bundle = client.export_bundle(["many", "few"], tmp_path / "both").path
    monkeypatch.setattr(contents, "KEPT_BYTES_MAXIMUM", 100)
    done = there.import_bundle(bundle, into=into(there))
    assert [model.created_count for model in done.models] == [1, 50]
    assert there.get("many:50").digest == client.get("many:50").digest


def test_a_second_import_changes_nothing_and_says_so(there: steelyard.Client, bundle: Path) -> None:
    there.import_bundle(bundle, into=into(there))
    before = sequence(there)
    again = there.import_bundle(bundle, into=into(there))
    assert sequence(there) == before
    assert (again.changed, again.uploaded_bytes) == (False, 0)
    assert again.models[0].numbers == {1: 1, 2: 2, 4: 4}
    assert again.models[0].left == ()


def test_numbers_that_were_left_out_are_never_used_again(
    there: steelyard.Client, bundle: Path, tmp_path: Path
) -> None:
    there.import_bundle(bundle, into=into(there))
    pushed = there.push("fraud", write_tree(tmp_path / "new", {"a": b"new"}))
    assert pushed.version.number == 5
    with pytest.raises(reasons.VersionNotFound):
        there.get("fraud:3")


def test_the_events_go_along_as_evidence_and_become_none_of_the_new_registry(
    fraud: steelyard.Client, there: steelyard.Client, bundle: Path
) -> None:
    lines = members_of(bundle)["events.jsonl"].splitlines()
    listed = list(fraud.events.list(fraud.references.model("fraud")))
    assert [json.loads(line)["content"].encode() for line in lines] == [event.content for event in listed]
    texts = [{text["name"]: text["text"] for text in json.loads(line)["texts"]} for line in lines]
    assert texts == [event.texts for event in listed]
    assert any("it is good" in each.values() for each in texts)
    there.import_bundle(bundle, into=into(there))
    ours = {event.content for event in listed}
    assert not ours & {event.content for event in there.events.list(there.references.model("fraud"))}


def test_one_version_goes_alone_with_the_events_that_concern_it(
    fraud: steelyard.Client, there: steelyard.Client, tmp_path: Path
) -> None:
    done = fraud.export_bundle(["fraud@champion", "fraud:1.0.4"], tmp_path / "one")
    assert (done.version_count, done.evaluation_count, done.deleted_count) == (1, 1, 0)
    told = [
        json.loads(json.loads(line)["content"]) for line in members_of(done.path)["events.jsonl"].splitlines()
    ]
    found = [(each["action"], each["changes"][0]["resource"].rpartition("/")[2]) for each in told]
    assert found == [
        ("model.create", "fraud"),
        ("version.create", "fraud:4"),
        ("alias.set", "fraud@champion"),
        ("evaluation.record", "fraud:4"),
    ]
    there.import_bundle(done.path, into=into(there))
    assert [version.number for version in there.versions.list("fraud")] == [4]
    assert there.get("fraud@champion").aliases == ("champion",)
    assert len(list(there.evaluations.list("fraud:4"))) == 1


def test_several_models_go_together_and_into_another_namespace(
    fraud: steelyard.Client, there: steelyard.Client, tmp_path: Path
) -> None:
    fraud.push("churn", write_tree(tmp_path / "churn", {"a": b"churn", "same.txt": b"same"}))
    fraud.models.create("empty", description="nothing yet")
    done = fraud.export_bundle(["fraud:1", "churn", "empty"], tmp_path / "all")
    summary = there.read_bundle(done.path)
    assert [model.name.partition("/")[2] for model in summary.models] == ["churn", "empty", "fraud"]
    there.import_bundle(done.path, into=into(there))
    assert [model.name.partition("/")[2] for model in there.models.list()] == ["churn", "empty", "fraud"]
    assert there.models.get("empty").description == "nothing yet"
    with pytest.raises(errors.InvalidArgument, match="has 3 models"):
        there.import_bundle(done.path, into="other")


def test_a_model_may_get_another_name(there: steelyard.Client, bundle: Path) -> None:
    there.import_bundle(bundle, into=f"{into(there)}scam")
    assert there.get("scam:4").origin is not None
    there.import_bundle(bundle, into="bare")
    assert there.get(f"{into(there)}bare:4").digest == there.get("scam:4").digest


def test_an_import_and_its_way_back_double_nothing(
    fraud: steelyard.Client, there: steelyard.Client, bundle: Path, tmp_path: Path
) -> None:
    there.import_bundle(bundle, into=into(there))
    before = sequence(fraud)
    back = there.export_bundle("fraud", tmp_path / "back").path
    done = fraud.import_bundle(back, into=into(fraud))
    assert (done.changed, sequence(fraud)) == (False, before)
    assert fraud.get("fraud:1").origin is None


def test_a_model_that_is_there_keeps_its_own_and_the_import_says_what_it_left(
    there: steelyard.Client, bundle: Path, tmp_path: Path
) -> None:
    there.namespaces.create(there.references.namespace)
    there.models.create("fraud", description="another", labels={"team": "Größe"}, owners=["risk"])
    there.import_bundle(bundle, into=into(there))
    there.versions.update("fraud:1", description="new words")
    there.aliases.set("fraud:1", "champion")
    there.aliases.delete("fraud", "Baseline")
    done = there.import_bundle(bundle, into=into(there))
    assert done.models[0].left == (
        "the model keeps its own description, metric directions",
        "the alias champion stays at version 1",
        "1 version keeps its own description or labels",
    )
    assert done.models[0].aliases == ("Baseline",)
    assert there.models.get("fraud").description == "another"
    assert there.get("fraud:1").description == "new words"
    assert there.get("fraud@champion").number == 1


def test_new_numbers_follow_those_that_are_there(
    there: steelyard.Client, bundle: Path, tmp_path: Path
) -> None:
    there.namespaces.create(there.references.namespace)
    for name in ("a", "b"):
        there.push("fraud", write_tree(tmp_path / name, {name: b"own"}), alias="champion")
    done = there.import_bundle(bundle, into=into(there), renumber=True)
    assert (done.models[0].numbers, done.models[0].created_count) == ({1: 3, 2: 4, 4: 5}, 3)
    assert there.get("fraud@Baseline").number == 3
    assert there.get("fraud@champion").number == 2
    assert there.get("fraud:5").origin is not None
    assert len(list(there.evaluations.list("fraud:3"))) == 2
    before = sequence(there)
    again = there.import_bundle(bundle, into=into(there), renumber=True)
    assert (again.changed, sequence(there)) == (False, before)
    assert again.models[0].numbers == {1: 3, 2: 4, 4: 5}


def test_a_number_that_is_taken_is_refused_before_anything_changes(
    there: steelyard.Client, bundle: Path, tmp_path: Path
) -> None:
    there.namespaces.create(there.references.namespace)
    there.push("fraud", write_tree(tmp_path / "own", {"a": b"own"}))
    before = sequence(there)
    with pytest.raises(reasons.NumberTaken, match="fraud:1 is another version"):
        there.import_bundle(bundle, into=into(there))
    assert sequence(there) == before
    assert [version.number for version in there.versions.list("fraud")] == [1]


def test_what_would_be_refused_late_is_refused_before_anything_changes(
    client: steelyard.Client, there: steelyard.Client, tmp_path: Path
) -> None:
    """The last version cannot come; those before it, which go in another call, do not come either."""
    many(client, 50, semantic_versions={48: "1.0.0"})
    bundle = client.export_bundle("many", tmp_path / "many").path
    there.namespaces.create(there.references.namespace)
    there.push("many", write_tree(tmp_path / "own", {"a": b"own"}), semantic_version="1.0.0")
    before = sequence(there)
    with pytest.raises(reasons.SemanticVersionAlreadyExists):
        there.import_bundle(bundle, into=into(there), renumber=True)
    assert sequence(there) == before


def test_content_that_was_deleted_is_not_imported_over(there: steelyard.Client, bundle: Path) -> None:
    there.import_bundle(bundle, into=into(there))
    there.aliases.delete("fraud", "champion")
    there.versions.delete("fraud:4")
    before = sequence(there)
    with pytest.raises(reasons.ContentDeleted):
        there.import_bundle(bundle, into=into(there))
    assert sequence(there) == before


def test_a_deleted_model_is_not_imported_into(there: steelyard.Client, bundle: Path) -> None:
    there.namespaces.create(there.references.namespace)
    there.models.create("fraud")
    there.models.delete("fraud")
    before = sequence(there)
    with pytest.raises(reasons.ModelDeleted):
        there.import_bundle(bundle, into=into(there))
    assert sequence(there) == before


def test_an_evaluation_that_measured_something_else_is_refused(
    fraud: steelyard.Client, there: steelyard.Client, bundle: Path, tmp_path: Path
) -> None:
    there.import_bundle(bundle, into=into(there))

    def lie(facts: Any) -> Any:
        facts["metrics"][0]["value"] = 0.99
        return facts

    false = write(tmp_path / "false", edited(members_of(bundle), "evaluations.jsonl", lie))
    with pytest.raises(reasons.EvaluationAlreadyExists):
        there.import_bundle(false, into=into(there))


def test_an_export_replaces_nothing_unless_it_is_told_to(fraud: steelyard.Client, tmp_path: Path) -> None:
    path = write_tree(tmp_path, {"there": b"old"}) / "there"
    with pytest.raises(errors.DestinationExists):
        fraud.export_bundle("fraud", path)
    assert path.read_bytes() == b"old"
    fraud.export_bundle("fraud", path, overwrite=True)
    assert fraud.read_bundle(path).blob_count == 6
    with pytest.raises(errors.LocalFileError, match="is a directory"):
        fraud.export_bundle("fraud", tmp_path, overwrite=True)


@pytest.mark.parametrize(
    ("refs", "error"),
    [
        ([], errors.InvalidArgument),
        (["fraud:9"], reasons.VersionNotFound),
        (["fraud", "fraud:5"], reasons.VersionDeleted),
        (["nothing"], reasons.ModelNotFound),
        ([":1"], errors.InvalidArgument),
    ],
)
def test_an_export_of_what_is_not_there_leaves_no_file(
    fraud: steelyard.Client, tmp_path: Path, refs: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        fraud.export_bundle(refs, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert remains(tmp_path) == []


def test_both_ways_show_how_far_they_are(
    fraud: steelyard.Client, there: steelyard.Client, tmp_path: Path
) -> None:
    phases = Phases()
    path = fraud.export_bundle("fraud", tmp_path / "fraud.bundle", progress=phases).path
    there.import_bundle(path, into=into(there), progress=phases)
    assert set(phases.seen) == {"read", "download", "verify", "upload", "import"}
    for phase in ("download", "verify", "upload", "import"):
        done = phases.seen[phase]
        assert done.done_bytes <= done.total_bytes
    assert phases.seen["import"].done_bytes == phases.seen["import"].total_bytes
    assert phases.seen["download"].done_bytes == phases.seen["upload"].done_bytes


async def test_the_same_goes_without_blocking(
    bundle: Path, elsewhere: Any, there: steelyard.Client, tmp_path: Path
) -> None:
    namespace = there.references.namespace
    async with steelyard.AsyncClient(elsewhere.address, namespace=namespace) as client:
        done = await client.import_bundle(bundle, into=into(there))
        assert done.models[0].created_count == 3
        await client.export_bundle("fraud", tmp_path / "again")
        assert (await client.read_bundle(tmp_path / "again")).models[0].evaluation_count == 3
        listed = [event.action async for event in client.events.list(f"{namespace}/fraud")]
        assert listed[0] == "model.create"
