"""A registry to export from, with a model that has everything, and another one to import into."""

from __future__ import annotations

import hashlib
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import steelyard
from steelyard.progress import Progress
from steelyard.v1 import content_pb2
from steelyard.v1 import version_service_pb2 as pb
from tests.client.trees import write_tree
from tests.servers import ServerProcess, server_process

METRICS = {"precision@holdout[region=EU]": 0.93, "loss": float("nan"), "zero": -0.0, "best": float("inf")}


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run a second registry for all tests that neither stop nor break it."""
    with server_process(tmp_path_factory.mktemp("elsewhere") / "data") as started:
        yield started


@pytest.fixture
def there(elsewhere: ServerProcess) -> Iterator[steelyard.Client]:
    """Connect to the second registry, in a namespace that is not there yet."""
    namespace = f"n{uuid.uuid4().hex[:16]}"
    with steelyard.Client(elsewhere.address, namespace=namespace, actor="ivan") as connected:
        yield connected


def into(client: steelyard.Client) -> str:
    """Return the namespace of a client, as imports name it."""
    return client.references.namespace + "/"


@pytest.fixture
def fraud(client: steelyard.Client, tmp_path: Path) -> steelyard.Client:
    """Make a model with versions 1, 2 and 4, evaluations, aliases, a deleted and a purged version."""
    client.models.create(
        "fraud",
        description="words 🦉",
        labels={"team": "Größe"},
        owners=["risk"],
        metric_directions={"loss": "lower-is-better"},
    )
    for number in range(1, 6):
        files = {"weights.onnx": bytes(300_000) + b"%d" % number, "same.txt": b"same", "empty": b""}
        client.push(
            "fraud",
            write_tree(tmp_path / "model", files),
            metrics=METRICS,
            parameters={"depth": number, "rate": 1e-9, "name": 'quote " \\ ü \u2028', "on": True},
            datasets=[steelyard.Dataset("holdout", role="test", uri="s3://data")],
            parents=[steelyard.Parent("fine-tuned-from", uri="https://models/base")],
            source=steelyard.Source("https://git/repo", "abc", dirty=False, run="7"),
            framework=steelyard.Framework("onnx", "1.19"),
            schema=steelyard.Schema(inputs=(steelyard.SchemaField("x", "float", (-1, 3), optional=True),)),
            references=[steelyard.Reference("far", "s3://bucket/key", 5)],
            description=f"version {number}\nof many",
            labels={"number": str(number)},
            semantic_version=f"1.0.{number}" if number != 2 else "",
            idempotency_key=f"run {number}" if number != 4 else "",
        )
    for number in (3, 5):
        client.versions.delete(f"fraud:{number}")
    client.versions.purge("fraud:3")
    client.aliases.set("fraud:4", "champion", reason="it is good")
    client.aliases.set("fraud:1", "Baseline")
    report = write_tree(tmp_path, {"report.html": b"<h1>report</h1>"}) / "report.html"
    client.evaluations.record("fraud:1", {"recall@new": 0.5}, report=report, description="first")
    client.evaluations.record("fraud:1", {"recall@new": 0.6, "f1": 0.7}, uri="https://runs/8")
    client.evaluations.record("fraud:4", {"recall@new": 0.9})
    return client


def many(client: steelyard.Client, count: int, *, semantic_versions: dict[int, str] | None = None) -> None:
    """Make a model `many` of versions that share one file."""
    client.models.create("many")
    namespace = client.references.namespace
    data = b"many"
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    with tempfile.TemporaryDirectory() as directory:
        client.push("many", write_tree(Path(directory), {"many": data}))
    for start in range(0, count - 1, 40):
        requests = [
            pb.CreateVersionRequest(
                content=content_pb2.Content(
                    files=[content_pb2.File(path=f"{namespace}/{number}", digest=digest, size_bytes=4)]
                ),
                semantic_version=(semantic_versions or {}).get(number, ""),
            )
            for number in range(start, min(start + 40, count - 1))
        ]
        client.versions.batch_create("many", requests)


@pytest.fixture
def bundle(fraud: steelyard.Client, tmp_path: Path) -> Path:
    """Export the model."""
    return fraud.export_bundle("fraud", tmp_path / "fraud.bundle").path


class Phases:
    """A progress callback that notes which phases there were."""

    def __init__(self) -> None:
        self.seen: dict[str, Progress] = {}

    def __call__(self, progress: Progress) -> None:
        self.seen[progress.phase] = progress
