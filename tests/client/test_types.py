"""What a server answers becomes plain values, also where it is newer than this client."""

from __future__ import annotations

from steelyard import types
from steelyard.v1 import actor_pb2, alias_pb2, content_pb2, model_pb2, version_pb2

NEWER = 77


def test_values_of_a_newer_server_have_no_name_and_do_no_harm() -> None:
    """In proto3 every number of an enum arrives, with a name or without."""
    content = content_pb2.Content()
    content.files.add(path="a", role=NEWER)  # type: ignore[arg-type]
    content.parents.add(uri="b", relation=NEWER)  # type: ignore[arg-type]
    creator = actor_pb2.Actor(id="ada", kind=NEWER)  # type: ignore[arg-type]
    version = types.version(version_pb2.Version(content=content, creator=creator))
    model = model_pb2.Model()
    model.metric_directions["loss"] = NEWER  # type: ignore[assignment]
    move = alias_pb2.AliasMove(action=NEWER)  # type: ignore[arg-type]
    found = {
        version.files[0].role,
        version.parents[0].relation,
        version.creator.kind,
        types.model(model).metric_directions["loss"],
        types.alias_move(move).action,
    }
    assert found == {f"unknown-{NEWER}"}


def test_values_have_the_words_that_people_use() -> None:
    content = content_pb2.Content()
    content.files.add(role=content_pb2.FILE_ROLE_SERVING_CONFIG)
    content.parents.add(relation=content_pb2.PARENT_RELATION_FINE_TUNED_FROM)
    version = types.version(version_pb2.Version(content=content))
    assert (version.files[0].role, version.parents[0].relation) == ("serving-config", "fine-tuned-from")
