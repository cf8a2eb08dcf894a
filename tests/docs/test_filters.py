"""docs/filters.md names every field, and all that it shows is understood and finds what it says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from steelyard import Client
from steelyard.v1 import content_pb2
from steelyard_server.core.filters.event_fields import EVENT_FIELDS
from steelyard_server.core.filters.fields import MODEL_FIELDS, VERSION_FIELDS, Fields
from steelyard_server.core.filters.promotion_fields import PROMOTION_FIELDS
from steelyard_server.limits import LIMITS
from tests.docs.pages import ADDRESS, ROOT, blocks
from tests.docs.test_readme import run
from tests.servers import ServerProcess

PAGE = ROOT / "docs/filters.md"
SECTIONS = dict(
    re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
)
DIGEST = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def examples(section: str) -> dict[str, str]:
    """Return the examples of a table by what stands before them."""
    return dict(re.findall(r"^\| `(.+?)` \| `(.+?)` \|", SECTIONS[section], re.MULTILINE))


def content(files: list[content_pb2.File]) -> content_pb2.Content:
    return content_pb2.Content(
        files=files,
        parameters=[content_pb2.Parameter(name="optimizer.lr", real=0.1)],
        metrics=[
            content_pb2.Metric(name="f1", dataset="holdout", slice="region=EU", value=0.95),
            content_pb2.Metric(name="f1", dataset="holdout", value=0.93),
        ],
        datasets=[
            content_pb2.Dataset(
                name="transactions", version="2026-10", uri="s3://data/x", digest=DIGEST, role="train"
            )
        ],
        parents=[
            content_pb2.Parent(
                relation=content_pb2.PARENT_RELATION_FINE_TUNED_FROM, digest=DIGEST, uri="risk/fraud-base"
            )
        ],
        schema=content_pb2.Schema(
            inputs=[content_pb2.SchemaField(name="amount", type="float32")],
            outputs=[content_pb2.SchemaField(name="score", type="float32")],
        ),
        framework=content_pb2.Framework(name="onnx", version="1.17.0"),
        source=content_pb2.Source(
            repository="https://example.org/fraud",
            commit="4be2d1f",
            dirty=False,
            run="run-42",
            pipeline="nightly",
            user="ada",
        ),
    )


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, shared: ServerProcess) -> Iterator[Client]:
    """Make a model and a version that have everything, and a version that has nothing beside its files."""
    files = tmp_path_factory.mktemp("model")
    (files / "model.onnx").write_bytes(b"weights")
    (files / "config.json").write_text("{}")
    with Client(shared.address, actor="ada") as client:
        client.namespaces.create("filters")
        model = "filters/fraud"
        client.models.create(
            model,
            description="Finds fraud.",
            labels={"team": "risk"},
            owners=["team-risk"],
            metric_directions={"f1": "higher-is-better"},
        )
        bare = client.push(model, files)
        stored = [
            content_pb2.File(path=file.path, digest=file.digest, size_bytes=file.size_bytes, role=1)
            for file in client.versions.files(bare.version)
        ]
        client.versions.create(
            model,
            content(stored),
            description="Gradient boosting, second try",
            labels={"team": "risk", "cost center": "4*711"},
            semantic_version="1.4.0",
            idempotency_key="run 7",
        )
        client.aliases.set(f"{model}:2", "champion", reason="as ticket 7 wants it")
        client.evaluations.record(f"{model}:2", {"f1@new": 0.95})
        yield client


LISTS = [
    ("Fields of versions", VERSION_FIELDS),
    ("Fields of models", MODEL_FIELDS),
    ("Fields of events", EVENT_FIELDS),
    ("Fields of promotions", PROMOTION_FIELDS),
]


def documented(section: str) -> set[str]:
    return {name.removesuffix(".NAME") for name in examples(section)}


@pytest.mark.parametrize(("section", "fields"), LISTS)
def test_every_field_has_a_line_and_no_other(section: str, fields: Fields) -> None:
    parts = {name for name, group in fields.groups.items() if group.part}
    assert documented(section) == {*fields.plain, *parts}


@pytest.mark.parametrize(("section", "fields"), LISTS)
def test_what_has_no_order_is_said(section: str, fields: Fields) -> None:
    told = set(re.findall(r"^\| `(.+?)` \|.*no order", SECTIONS[section], re.MULTILINE))
    assert told == {name for name, field in fields.plain.items() if not field.single}


@pytest.mark.parametrize("example", examples("Fields of versions").values())
def test_the_example_of_a_field_finds_a_version_that_has_it(registry: Client, example: str) -> None:
    assert 2 in [version.number for version in registry.versions.list("filters/fraud", filter=example)]
    assert 2 in [version.number for version in registry.versions.list("filters/-", filter=example)]


@pytest.mark.parametrize("example", examples("Fields of models").values())
def test_the_example_of_a_field_finds_a_model_that_has_it(registry: Client, example: str) -> None:
    assert [model.name for model in registry.models.list("filters", filter=example)] == ["filters/fraud"]


@pytest.mark.parametrize("example", examples("Fields of events").values())
def test_the_example_of_a_field_finds_an_event_that_has_it(registry: Client, example: str) -> None:
    assert "alias.set" in [event.action for event in registry.events.list("filters/fraud", filter=example)]


@pytest.fixture(scope="module")
def promoted(registry: Client) -> Client:
    """Propose a version that waits for a check from outside."""
    target = {"stage": "staging"}
    registry.policies.set(
        {"namespace": "filters", "name": "careful", "target": target, "outsideChecks": ["load"]}
    )
    registry.promotions.create("filters/fraud:2", stage="staging")
    return registry


@pytest.mark.parametrize("example", examples("Fields of promotions").values())
def test_the_example_of_a_field_finds_a_promotion_that_has_it(promoted: Client, example: str) -> None:
    for scope in ("filters/fraud", "filters/-"):
        found = promoted.promotions.list(scope, filter=example)
        assert "filters/fraud#1" in map(str, found)


def test_what_else_is_written_finds_what_it_says(registry: Client) -> None:
    written = re.findall(r"^\| `(.+?)` \| [^`]", SECTIONS["What a filter is"], re.MULTILINE)
    found = {
        text: [version.number for version in registry.versions.list("filters/fraud", filter=text)]
        for text in written
    }
    assert len(found) >= 9
    assert found == {
        "stage = development AND number > 0": [1, 2],
        "stage = development number > 0": [1, 2],
        "number = 1 OR number = 2": [1, 2],
        "NOT stage = production": [1, 2],
        "(number = 1 OR fraud) AND -old": [1, 2],
        'description = "Gradient boosting*"': [2],
        'description != "*forest*"': [2],
        "description:*": [2],
        'labels."cost center" = "4\\*711"': [2],
    }


def test_the_limits_are_those_of_the_server() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for number in (LIMITS.filter_bytes, LIMITS.filter_terms_count, LIMITS.filter_depth):
        assert f" {number} " in text
    assert LIMITS.order_fields_count == len(["at", "most", "four", "fields"])


def test_commands_and_python_of_the_page_run(registry: Client, shared: ServerProcess, tmp_path: Path) -> None:
    if not list(registry.models.list("default", filter="name = fraud")):
        files = tmp_path / "files"
        files.mkdir()
        (files / "model.onnx").write_bytes(b"weights")
        registry.push("default/fraud", files, metrics={"f1@holdout": 0.95}, labels={"team": "risk"})
    reader = tmp_path / "reader"
    reader.mkdir()
    commands = [command for block in blocks(PAGE, "console") for command in block.commands()]
    assert len(commands) == 6
    for command in commands:
        run("sh", "-euc", command, reader=reader, address=shared.address)
    (script,) = (block.text for block in blocks(PAGE, "python"))
    printed = run(sys.executable, "-c", script.replace(ADDRESS, shared.address), reader=reader, address="")
    assert printed.startswith("1 {'f1@holdout': 0.95}")
