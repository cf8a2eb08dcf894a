"""Every bad input has one answer: a status code, a reason, the field, and nothing changed."""

# ruff: noqa: E501  one row of a table on one line

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from steelyard_server.limits import LIMITS
from tests.api.calls import Refused, call, call_raw, request_class
from tests.servers import Running, running_server

DATA = b"weights"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
ELSEWHERE = "sha256:" + hashlib.sha256(b"only in the other namespace").hexdigest()
FRAUD = "default/fraud"
ONE = {"model": FRAUD, "number": 1}
DELETED, PURGED = {"model": FRAUD, "number": 2}, {"model": FRAUD, "number": 3}
UUID = "6f1c2c34-8a5e-4b1e-9f63-0d0c1f6a5d11"

pytestmark = pytest.mark.asyncio(loop_scope="module")


def file(path: str = "a.bin", **fields: Any) -> dict[str, Any]:
    return {"path": path, "digest": DIGEST, "size_bytes": len(DATA)} | fields


def version(*files: dict[str, Any], **content: Any) -> dict[str, Any]:
    """Make a CreateVersion request with these files and members of content."""
    return {"model": FRAUD, "content": {"files": list(files) or [file()], **content}}


def paths(*names: str) -> dict[str, Any]:
    return version(*(file(name) for name in names))


def labels(count: int, size: int = 1) -> dict[str, Any]:
    return {"name": "labelled", "labels": {f"key{index}": "x" * size for index in range(count)}}


def evaluated(*metrics: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Make a RecordEvaluation request with these metrics and fields of the evaluation."""
    return {"version": ONE, "evaluation": {"metrics": list(metrics) or [{"name": "a"}], **fields}}


def compared(*numbers: int, **fields: Any) -> dict[str, Any]:
    """Make a CompareVersions request of these versions."""
    versions = [{"model": FRAUD, "number": number} for number in numbers]
    return {"namespace": "default", "versions": versions, **fields}


async def put(running: Running, data: bytes, *, namespace: str = "default") -> None:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    message = request_class("WriteBlobs")(
        header={"namespace": namespace, "size_bytes": len(data), "digest": digest, "from_start": True},
        data=data,
        finish={},
    )
    await call_raw(running.channel, "WriteBlobs", message.SerializeToString())


async def end_some(channel: grpc.aio.Channel) -> None:
    """Delete a version and a model, and purge one of each."""
    for number in (2, 3):
        fields = version(parameters=[{"name": "number", "integer": str(number)}])
        await call(channel, "CreateVersion", fields | {"idempotency_key": f"key {number}"})
        await call(channel, "DeleteVersion", {"version": {"model": FRAUD, "number": number}})
    await call(channel, "PurgeVersion", {"version": PURGED})
    for name in ("default/deleted", "default/purged"):
        await call(channel, "CreateModel", {"name": name})
        await call(channel, "DeleteModel", {"name": name})
    await call(channel, "PurgeModel", {"name": "default/purged"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_server(tmp_path_factory.mktemp("registry") / "data") as running:
        channel = running.channel
        await call(channel, "CreateNamespace", {"name": "other"})
        await call(channel, "CreateNamespace", {"name": "full"})
        await call(channel, "CreateModel", {"name": "full/model"})
        await call(channel, "CreateModel", {"name": FRAUD})
        await call(channel, "CreateModel", {"name": "default/renamed-before"})
        await call(channel, "RenameModel", {"name": "default/renamed-before", "new_name": "default/renamed"})
        await put(running, DATA)
        await put(running, b"only in the other namespace", namespace="other")
        first = version(file(), file("ext", digest="", uri="s3://bucket/key"))
        await call(
            channel, "CreateVersion", first | {"semantic_version": "1.0.0", "idempotency_key": "first"}
        )
        await call(channel, "SetAlias", {"version": ONE, "alias": "champion"})
        await call(channel, "UpdateModel", {"model": {"name": FRAUD, "description": "x"}, "request_id": UUID})
        await end_some(channel)
        yield running


NAMES = [
    ("row 38, empty name", "CreateNamespace", {}, "FIELD_REQUIRED"),
    ("row 38, empty model", "GetModel", {}, "FIELD_REQUIRED"),
    ("row 39, upper case", "CreateNamespace", {"name": "Risk"}, "INVALID_NAME"),
    ("row 39, space", "CreateNamespace", {"name": "a b"}, "INVALID_NAME"),
    ("row 39, back-slash", "CreateModel", {"name": "default/a\\b"}, "INVALID_NAME"),
    ("row 39, colon", "CreateModel", {"name": "default/a:b"}, "INVALID_NAME"),
    ("row 39, at", "CreateModel", {"name": "default/a@b"}, "INVALID_NAME"),
    ("row 39, dots", "CreateModel", {"name": "default/.."}, "RESERVED_NAME"),
    ("row 39, leading dash", "CreateNamespace", {"name": "-a"}, "INVALID_NAME"),
    ("row 39, percent", "CreateNamespace", {"name": "a%b"}, "INVALID_NAME"),
    ("row 39, space at an end", "CreateModel", {"name": "default/a "}, "INVALID_NAME"),
    ("row 40, other letters", "CreateNamespace", {"name": "rіsk"}, "INVALID_NAME"),
    ("row 40, bidirectional", "CreateModel", {"name": "default/a\u202eb"}, "INVALID_NAME"),
    ("row 40, zero width", "CreateModel", {"name": "default/a\u200bb"}, "INVALID_NAME"),
    ("row 40, not NFC", "CreateModel", {"name": "default/e\u0301"}, "INVALID_NAME"),
    ("row 41, NUL", "CreateModel", {"name": "default/a\u0000b"}, "INVALID_NAME"),
    ("row 42, newline at the end", "CreateNamespace", {"name": "a\n"}, "INVALID_NAME"),
    ("row 43, 129 characters", "CreateNamespace", {"name": "a" * 129}, "TOO_LONG"),
    ("row 43, 129 characters", "SetAlias", {"version": ONE, "alias": "a" * 129}, "TOO_LONG"),
    ("row 43, 257 characters", "CreateModel", {"name": "default/" + "a" * 257}, "TOO_LONG"),
    ("row 44, latest", "SetAlias", {"version": ONE, "alias": "latest"}, "RESERVED_NAME"),
    ("row 44, Latest", "SetAlias", {"version": ONE, "alias": "Latest"}, "RESERVED_NAME"),
    ("row 44, none", "SetAlias", {"version": ONE, "alias": "None"}, "RESERVED_NAME"),
    ("row 44, latest", "CreateNamespace", {"name": "latest"}, "RESERVED_NAME"),
    ("row 44, none", "CreateNamespace", {"name": "none"}, "RESERVED_NAME"),
    ("row 44, con", "CreateNamespace", {"name": "con"}, "RESERVED_NAME"),
    ("row 44, a device with an ending", "CreateNamespace", {"name": "lpt1.risk"}, "RESERVED_NAME"),
    ("row 38, empty environment", "CreateEnvironment", {}, "FIELD_REQUIRED"),
    ("row 38, empty environment", "UpdateEnvironment", {}, "FIELD_REQUIRED"),
    ("row 39, upper case", "CreateEnvironment", {"name": "Production"}, "INVALID_NAME"),
    ("row 39, a pattern", "CreateEnvironment", {"name": "production-*"}, "INVALID_NAME"),
    ("row 39, a scope", "CreateEnvironment", {"name": "environment:eu"}, "INVALID_NAME"),
    ("row 39, a slash", "GetEnvironment", {"name": "production/eu"}, "INVALID_NAME"),
    ("row 39, a stage", "CreateEnvironment", {"name": "x", "accepts": ["Production"]}, "INVALID_NAME"),
    ("row 38, empty stage", "CreateEnvironment", {"name": "x", "accepts": [""]}, "FIELD_REQUIRED"),
    ("row 43, 129 characters", "CreateEnvironment", {"name": "a" * 129}, "TOO_LONG"),
    ("row 44, latest", "CreateEnvironment", {"name": "latest"}, "RESERVED_NAME"),
    (
        "row 66, stages",
        "CreateEnvironment",
        {"name": "x", "accepts": [f"s{n}" for n in range(17)]},
        "LIMIT_EXCEEDED",
    ),
    ("row 67, stage twice", "CreateEnvironment", {"name": "x", "accepts": ["a", "b", "a"]}, "DUPLICATE_KEY"),
    (
        "row 57, its name",
        "UpdateEnvironment",
        {"environment": {"name": "x"}, "update_mask": "name"},
        "IMMUTABLE_FIELD",
    ),
    (
        "row 57, its creator",
        "UpdateEnvironment",
        {"environment": {"name": "x"}, "update_mask": "creator"},
        "FIELD_MASK_INVALID",
    ),
    ("row 57, nothing", "UpdateEnvironment", {"environment": {"name": "x"}}, "FIELD_MASK_INVALID"),
    ("row 69, negative", "ListEnvironments", {"page_size": -1}, "PAGE_SIZE_INVALID"),
    ("row 71, forged", "ListEnvironments", {"page_token": "Zm9v"}, "PAGE_TOKEN_INVALID"),
    ("row 44, all digits", "SetAlias", {"version": ONE, "alias": "12"}, "INVALID_NAME"),
    ("row 44, v and digits", "SetAlias", {"version": ONE, "alias": "v12"}, "INVALID_NAME"),
    ("row 44, default stays", "DeleteNamespace", {"name": "default"}, "RESERVED_NAME"),
    ("row 45, no namespace", "GetModel", {"name": "fraud"}, "INVALID_RESOURCE_NAME"),
    ("row 45, too many parts", "GetModel", {"name": "a/b/c"}, "INVALID_RESOURCE_NAME"),
    (
        "row 46, other namespace",
        "BatchGetVersions",
        {"namespace": "other", "versions": [ONE]},
        "RESOURCE_MISMATCH",
    ),
    (
        "row 46, leaves its namespace",
        "RenameModel",
        {"name": FRAUD, "new_name": "other/fraud"},
        "RESOURCE_MISMATCH",
    ),
    ("row 47, number 0", "GetVersion", {"version": {"model": FRAUD, "number": 0}}, "OUT_OF_BOUNDS"),
    ("row 47, negative", "GetVersion", {"version": {"model": FRAUD, "number": -1}}, "OUT_OF_BOUNDS"),
]
REQUESTS = [
    ("row 52, no UUID", "CreateModel", {"name": "default/x", "request_id": "one"}, "REQUEST_ID_INVALID"),
    ("row 54, other request", "UpdateModel", {"model": {"name": FRAUD, "description": "y"}, "request_id": UUID},
     "REQUEST_ID_REUSED"),
    ("row 57, etag", "UpdateModel", {"model": {"name": FRAUD, "description": "y"}, "etag": "W/1"}, "ETAG_INVALID"),
    ("row 58, unknown path", "UpdateModel", {"model": {"name": FRAUD}, "update_mask": "nope"}, "FIELD_MASK_INVALID"),
    ("row 58, output only", "UpdateModel", {"model": {"name": FRAUD}, "update_mask": "uid"}, "FIELD_MASK_INVALID"),
    ("row 58, nothing to change", "UpdateModel", {"model": {"name": FRAUD}}, "FIELD_MASK_INVALID"),
    ("row 59, immutable", "UpdateModel", {"model": {"name": FRAUD}, "update_mask": "name"}, "IMMUTABLE_FIELD"),
    ("row 59, content", "UpdateVersion", {"version": ONE, "update_mask": "digest"}, "IMMUTABLE_FIELD"),
    ("row 60, unspecified", "UpdateModel",
     {"model": {"name": FRAUD, "metric_directions": {"a": 0}}, "update_mask": "metricDirections"}, "ENUM_INVALID"),
    ("row 60, unknown", "CreateModel", {"name": "default/x", "metric_directions": {"a": 9}}, "ENUM_INVALID"),
    ("row 60, relation", "CreateVersion", version(parents=[{"digest": DIGEST}]), "ENUM_INVALID"),
    ("row 60, role", "CreateVersion", version(file(role=99)), "ENUM_INVALID"),
    ("row 61, no selector", "GetVersion", {"version": {"model": FRAUD}}, "ONEOF_REQUIRED"),
    ("row 61, no value", "CreateVersion", version(parameters=[{"name": "a"}]), "ONEOF_REQUIRED"),
    ("row 66, labels", "CreateNamespace", labels(257), "LIMIT_EXCEEDED"),
    ("row 66, label value", "CreateNamespace", labels(1, 4097), "LIMIT_EXCEEDED"),
    ("row 66, label key", "CreateNamespace", {"name": "x", "labels": {"k" * 251: ""}}, "LIMIT_EXCEEDED"),
    ("row 66, labels in sum", "CreateNamespace", labels(20, 4096), "LIMIT_EXCEEDED"),
    ("row 67, letter case", "CreateNamespace", {"name": "x", "labels": {"Team": "a", "team": "b"}},
     "DUPLICATE_KEY"),
    ("row 67, metric twice", "CreateVersion", version(metrics=[{"name": "a"}, {"name": "a"}]), "DUPLICATE_KEY"),
    ("row 67, parameter twice", "CreateVersion",
     version(parameters=[{"name": "a", "text": "1"}, {"name": "a", "integer": "1"}]), "DUPLICATE_KEY"),
    ("row 68, control characters", "CreateNamespace", {"name": "x", "description": "a\u0007"}, "CONTROL_CHARACTERS"),
    ("description too long", "CreateNamespace", {"name": "x", "description": "d" * 65537}, "TOO_LONG"),
    ("reason too long", "CreateNamespace", {"name": "x", "reason": "d" * 4097}, "TOO_LONG"),
    ("semantic version", "CreateVersion", version() | {"semantic_version": "1.0"}, "SEMANTIC_VERSION_INVALID"),
    ("slice without dataset", "CreateVersion", version(metrics=[{"name": "a", "slice": "b"}]), "FIELD_REQUIRED"),
    ("credentials", "CreateVersion", version(source={"repository": "https://me:secret@host/x"}), "INVALID_TEXT"),
    ("etag and must_not_exist", "SetAlias",
     {"version": ONE, "alias": "new", "etag": "1", "must_not_exist": True}, "ETAG_INVALID"),
    ("no version", "DeleteVersion", {}, "ONEOF_REQUIRED"),
    ("no selector", "UndeleteVersion", {"version": {"model": FRAUD}}, "ONEOF_REQUIRED"),
    ("no selector", "PurgeVersion", {"version": {"model": FRAUD}}, "ONEOF_REQUIRED"),
    ("no selector", "CopyVersion", {"source": {"model": FRAUD}, "model": FRAUD}, "ONEOF_REQUIRED"),
    ("no target", "CopyVersion", {"source": ONE}, "FIELD_REQUIRED"),
    ("target with a version", "CopyVersion", {"source": ONE, "model": FRAUD + ":1"}, "INVALID_NAME"),
    ("semantic version", "CopyVersion", {"source": ONE, "model": FRAUD, "semantic_version": "v1"},
     "SEMANTIC_VERSION_INVALID"),
    ("number 0", "DeleteVersion", {"version": {"model": FRAUD, "number": 0}}, "OUT_OF_BOUNDS"),
    ("etag", "DeleteVersion", {"version": ONE, "etag": "W/1"}, "ETAG_INVALID"),
    ("etag", "UndeleteVersion", {"version": DELETED, "etag": "W/1"}, "ETAG_INVALID"),
    ("etag", "PurgeVersion", {"version": DELETED, "etag": "-1"}, "ETAG_INVALID"),
    ("etag", "DeleteModel", {"name": FRAUD, "etag": "x"}, "ETAG_INVALID"),
    ("etag", "PurgeModel", {"name": "default/deleted", "etag": "x"}, "ETAG_INVALID"),
    ("empty model", "DeleteModel", {}, "FIELD_REQUIRED"),
    ("empty model", "UndeleteModel", {}, "FIELD_REQUIRED"),
    ("no namespace", "PurgeModel", {"name": "fraud"}, "INVALID_RESOURCE_NAME"),
    ("no UUID", "DeleteVersion", {"version": ONE, "request_id": "one"}, "REQUEST_ID_INVALID"),
    ("reason too long", "PurgeModel", {"name": "default/deleted", "reason": "d" * 4097}, "TOO_LONG"),
    ("minimum sequence", "GetModel", {"name": FRAUD, "minimum_sequence": -1}, "OUT_OF_BOUNDS"),
]  # fmt: skip
LISTS = [
    ("row 69, negative", "ListModels", {"namespace": "default", "page_size": -1}, "PAGE_SIZE_INVALID"),
    ("row 71, forged", "ListModels", {"namespace": "default", "page_token": "Zm9v"}, "PAGE_TOKEN_INVALID"),
    ("row 71, no base64", "ListModels", {"namespace": "default", "page_token": "%%"}, "PAGE_TOKEN_INVALID"),
    ("row 71, huge", "ListVersions", {"model": FRAUD, "page_token": "A" * 9999}, "PAGE_TOKEN_INVALID"),
    ("row 74, order", "ListVersions", {"model": FRAUD, "order_by": "size"}, "ORDER_BY_INVALID"),
    ("no reference", "BatchGetVersions", {"namespace": "default"}, "FIELD_REQUIRED"),
    ("101 references", "BatchGetVersions", {"namespace": "default", "versions": [ONE] * 101}, "LIMIT_EXCEEDED"),
    ("10,001 sizes", "FindMissingBlobs", {"namespace": "default", "sizes_bytes": [1] * 10001}, "LIMIT_EXCEEDED"),
]  # fmt: skip
FILES = [
    ("row 81, no file", "CreateVersion", {"model": FRAUD}, "EMPTY_ARTIFACT"),
    ("row 83, held with another size", "CreateVersion", version(file(size_bytes=1)), "SIZE_MISMATCH"),
    ("row 83, negative size", "CreateVersion", version(file(size_bytes=-1)), "OUT_OF_BOUNDS"),
    ("row 84, md5", "CreateVersion", version(file(digest="md5:" + "0" * 32)), "DIGEST_INVALID"),
    ("row 84, upper case", "CreateVersion", version(file(digest=DIGEST.upper())), "DIGEST_INVALID"),
    ("row 84, cut", "CreateVersion", version(file(digest=DIGEST[:-1])), "DIGEST_INVALID"),
    ("row 84, newline", "CreateVersion", version(file(digest=DIGEST + "\n")), "DIGEST_INVALID"),
    ("row 84, in a search", "FindMissingBlobs", {"namespace": "default", "blobs": [{"digest": "x"}]},
     "DIGEST_INVALID"),
    ("row 91, absolute", "CreateVersion", paths("/etc/passwd"), "INVALID_FILE_PATH"),
    ("row 91, up", "CreateVersion", paths("a/../../b"), "INVALID_FILE_PATH"),
    ("row 91, dot", "CreateVersion", paths("./a"), "INVALID_FILE_PATH"),
    ("row 91, empty part", "CreateVersion", paths("a//b"), "INVALID_FILE_PATH"),
    ("row 91, back-slash", "CreateVersion", paths("a\\b"), "INVALID_FILE_PATH"),
    ("row 91, duplicate", "CreateVersion", paths("a", "a"), "INVALID_FILE_PATH"),
    ("row 91, duplicate by case", "CreateVersion", paths("Model.bin", "model.BIN"), "INVALID_FILE_PATH"),
    ("row 91, file and directory", "CreateVersion", paths("a", "a/b"), "INVALID_FILE_PATH"),
    ("row 91, device", "CreateVersion", paths("sub/CON.txt"), "INVALID_FILE_PATH"),
    ("row 91, drive", "CreateVersion", paths("C:/x"), "INVALID_FILE_PATH"),
    ("row 91, empty", "CreateVersion", paths(""), "INVALID_FILE_PATH"),
    ("row 91, over-long", "CreateVersion", paths("/".join(["a" * 200] * 6)), "INVALID_FILE_PATH"),
    ("row 91, over-long part", "CreateVersion", paths("a" * 256), "INVALID_FILE_PATH"),
    ("row 91, NUL", "CreateVersion", paths("a\u0000b"), "INVALID_FILE_PATH"),
    ("row 91, not NFC", "CreateVersion", paths("e\u0301"), "INVALID_FILE_PATH"),
    ("row 91, trailing dot", "CreateVersion", paths("a."), "INVALID_FILE_PATH"),
    ("10,001 files", "CreateVersion", version(*({"path": str(n), "uri": "s3://x"} for n in range(10001))),
     "LIMIT_EXCEEDED"),
    ("read, negative offset", "ReadFile", {"version": ONE, "path": "a.bin", "offset": -1}, "OUT_OF_BOUNDS"),
    ("read, negative length", "ReadFile", {"version": ONE, "path": "a.bin", "length": -1}, "OUT_OF_BOUNDS"),
    ("read, traversal", "ReadFile", {"version": ONE, "path": "../../registry.db"}, "INVALID_FILE_PATH"),
]  # fmt: skip
EVALUATIONS = [
    ("no metric", "RecordEvaluation", {"version": ONE}, "FIELD_REQUIRED"),
    ("no version", "RecordEvaluation", {"evaluation": evaluated()["evaluation"]}, "ONEOF_REQUIRED"),
    ("row 67, metric twice", "RecordEvaluation", evaluated({"name": "a"}, {"name": "a"}), "DUPLICATE_KEY"),
    ("a name with a line break", "RecordEvaluation", evaluated({"name": "a\nb"}), "INVALID_NAME"),
    ("row 66, metrics", "RecordEvaluation", evaluated(*({"name": str(n)} for n in range(2001))), "LIMIT_EXCEEDED"),
    ("row 66, datasets", "RecordEvaluation", evaluated(datasets=[{"name": str(n)} for n in range(101)]),
     "LIMIT_EXCEEDED"),
    ("row 84, dataset", "RecordEvaluation", evaluated(datasets=[{"name": "a", "digest": "x"}]), "DIGEST_INVALID"),
    ("slice without dataset", "RecordEvaluation", evaluated({"name": "a", "slice": "b"}), "FIELD_REQUIRED"),
    ("the future", "RecordEvaluation", evaluated(evaluate_time="2999-01-01T00:00:00Z"), "TIMESTAMP_INVALID"),
    ("description too long", "RecordEvaluation", evaluated(description="d" * 65537), "TOO_LONG"),
    ("uri too long", "RecordEvaluation", evaluated(uri="d" * 2049), "TOO_LONG"),
    ("row 41, uri", "RecordEvaluation", evaluated(uri="a\u0000"), "CONTROL_CHARACTERS"),
    ("report without path", "RecordEvaluation", evaluated(report=file("")), "INVALID_FILE_PATH"),
    ("report elsewhere", "RecordEvaluation", evaluated(report=file(uri="s3://a")), "INVALID_TEXT"),
    ("row 60, report", "RecordEvaluation", evaluated(report=file(role=99)), "ENUM_INVALID"),
    ("row 83, report", "RecordEvaluation", evaluated(report=file(size_bytes=1)), "SIZE_MISMATCH"),
    ("row 84, report", "RecordEvaluation", evaluated(report={"path": "a"}), "DIGEST_INVALID"),
    ("row 69, negative", "ListEvaluations", {"version": ONE, "page_size": -1}, "PAGE_SIZE_INVALID"),
    ("row 71, forged", "ListEvaluations", {"version": ONE, "page_token": "Zm9v"}, "PAGE_TOKEN_INVALID"),
    ("a path and a report", "ReadFile", {"version": ONE, "path": "a.bin", "evaluation": UUID}, "RESOURCE_MISMATCH"),
    ("an evaluation too long", "ReadFile", {"version": ONE, "evaluation": "u" * 3000}, "TOO_LONG"),
    ("nothing to compare", "CompareVersions", compared(), "OUT_OF_BOUNDS"),
    ("one to compare", "CompareVersions", compared(1), "OUT_OF_BOUNDS"),
    ("21 to compare", "CompareVersions", compared(*range(1, 22)), "LIMIT_EXCEEDED"),
    ("one with itself", "CompareVersions", compared(1, 1), "DUPLICATE_KEY"),
    ("row 46, other namespace", "CompareVersions", compared(1, 2) | {"namespace": "other"}, "RESOURCE_MISMATCH"),
    ("row 61, no selector", "CompareVersions", {"namespace": "default", "versions": [{"model": FRAUD}] * 2},
     "ONEOF_REQUIRED"),
    ("a metric without a name", "CompareVersions", compared(1, 2, metrics=[{"dataset": "a"}]), "FIELD_REQUIRED"),
    ("a slice without dataset", "CompareVersions", compared(1, 2, metrics=[{"name": "a", "slice": "b"}]),
     "FIELD_REQUIRED"),
    ("2,001 metrics", "CompareVersions", compared(1, 2, metrics=[{"name": "a"}] * 2001), "LIMIT_EXCEEDED"),
]  # fmt: skip
STATE = [
    ("row 48, evaluation", "RecordEvaluation", evaluated() | {"version": {"model": FRAUD, "number": 99}}, "NOT_FOUND",
     "VERSION_NOT_FOUND"),
    ("row 48, evaluations", "ListEvaluations", {"version": {"model": FRAUD, "alias": "nobody"}}, "NOT_FOUND",
     "ALIAS_NOT_FOUND"),
    ("row 48, comparison", "CompareVersions", compared(1, 99), "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("row 48, report", "ReadFile", {"version": ONE, "evaluation": UUID}, "NOT_FOUND", "EVALUATION_NOT_FOUND"),
    ("missing report", "RecordEvaluation", evaluated(report=file(digest="sha256:" + "0" * 64)),
     "FAILED_PRECONDITION", "BLOB_MISSING"),
    ("report of another namespace", "RecordEvaluation", evaluated(report=file(digest=ELSEWHERE, size_bytes=27)),
     "FAILED_PRECONDITION", "BLOB_MISSING"),
    ("row 48", "GetNamespace", {"name": "nowhere"}, "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
    ("row 48", "GetEnvironment", {"name": "nowhere"}, "NOT_FOUND", "ENVIRONMENT_NOT_FOUND"),
    ("row 48", "DeleteEnvironment", {"name": "nowhere"}, "NOT_FOUND", "ENVIRONMENT_NOT_FOUND"),
    ("row 48", "UpdateEnvironment", {"environment": {"name": "nowhere", "description": "x"}}, "NOT_FOUND",
     "ENVIRONMENT_NOT_FOUND"),
    ("row 48", "ListModels", {"namespace": "nowhere"}, "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
    ("row 48", "CreateModel", {"name": "nowhere/x"}, "NOT_FOUND", "NAMESPACE_NOT_FOUND"),
    ("row 48", "GetModel", {"name": "default/none"}, "NOT_FOUND", "MODEL_NOT_FOUND"),
    ("row 48", "CreateVersion", version() | {"model": "default/none"}, "NOT_FOUND", "MODEL_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": FRAUD, "number": 99}}, "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": FRAUD, "digest": DIGEST}}, "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": FRAUD, "semantic_version": "9.9.9"}}, "NOT_FOUND",
     "VERSION_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": FRAUD, "alias": "nobody"}}, "NOT_FOUND", "ALIAS_NOT_FOUND"),
    ("row 48", "GetVersion", {"version": {"model": "default/renamed", "alias": "latest"}}, "NOT_FOUND",
     "VERSION_NOT_FOUND"),
    ("row 48", "GetAlias", {"model": FRAUD, "alias": "nobody"}, "NOT_FOUND", "ALIAS_NOT_FOUND"),
    ("row 48", "RollbackAlias", {"model": FRAUD, "alias": "nobody"}, "NOT_FOUND", "ALIAS_NOT_FOUND"),
    ("row 48", "ListAliasMoves", {"model": FRAUD, "alias": "nobody"}, "NOT_FOUND", "ALIAS_NOT_FOUND"),
    ("before it was set", "GetAlias", {"model": FRAUD, "alias": "champion", "read_time": "2001-01-01T00:00:00Z"},
     "NOT_FOUND", "ALIAS_NOT_FOUND"),
    ("no such file", "ReadFile", {"version": ONE, "path": "none"}, "NOT_FOUND", "FILE_NOT_FOUND"),
    ("row 49", "CreateNamespace", {"name": "default"}, "ALREADY_EXISTS", "NAMESPACE_ALREADY_EXISTS"),
    ("row 49, letter case", "CreateModel", {"name": "default/FRAUD"}, "ALREADY_EXISTS", "MODEL_ALREADY_EXISTS"),
    ("row 50", "CreateModel", {"name": "default/renamed-before"}, "FAILED_PRECONDITION", "NAME_RETIRED"),
    ("row 50", "RenameModel", {"name": FRAUD, "new_name": "default/renamed-before"}, "FAILED_PRECONDITION",
     "NAME_RETIRED"),
    ("taken", "RenameModel", {"name": FRAUD, "new_name": "default/renamed"}, "ALREADY_EXISTS",
     "MODEL_ALREADY_EXISTS"),
    ("row 56", "UpdateModel", {"model": {"name": FRAUD, "description": "y"}, "etag": "1"}, "ABORTED",
     "ETAG_MISMATCH"),
    ("row 113", "SetAlias", {"version": ONE, "alias": "champion", "must_not_exist": True}, "ABORTED",
     "ALIAS_CHANGED"),
    ("row 113", "DeleteAlias", {"model": FRAUD, "alias": "champion", "etag": "1"}, "ABORTED", "ALIAS_CHANGED"),
    ("row 77", "GetModel", {"name": FRAUD, "minimum_sequence": 1 << 40}, "OUT_OF_RANGE", "SEQUENCE_IN_FUTURE"),
    ("row 100", "ReadFile", {"version": ONE, "path": "a.bin", "offset": 8}, "OUT_OF_RANGE",
     "OFFSET_OUT_OF_RANGE"),
    ("row 116", "RollbackAlias", {"model": FRAUD, "alias": "champion"}, "FAILED_PRECONDITION",
     "NO_ROLLBACK_TARGET"),
    ("external", "ReadFile", {"version": ONE, "path": "ext"}, "FAILED_PRECONDITION", "FILE_IS_EXTERNAL"),
    ("not empty", "DeleteNamespace", {"name": "full"}, "FAILED_PRECONDITION", "NAMESPACE_NOT_EMPTY"),
    ("missing blob", "CreateVersion", version(file(digest="sha256:" + "0" * 64)), "FAILED_PRECONDITION",
     "BLOB_MISSING"),
    ("blob of another namespace", "CreateVersion", version(file(digest=ELSEWHERE, size_bytes=27)),
     "FAILED_PRECONDITION", "BLOB_MISSING"),
    ("idempotency key", "CreateVersion", version() | {"idempotency_key": "first"}, "ALREADY_EXISTS",
     "IDEMPOTENCY_KEY_REUSED"),
    ("semantic version", "CreateVersion", version() | {"semantic_version": "1.0.0"}, "ALREADY_EXISTS",
     "SEMANTIC_VERSION_ALREADY_EXISTS"),
    ("deleted", "GetVersion", {"version": DELETED}, "NOT_FOUND", "VERSION_DELETED"),
    ("deleted", "ReadFile", {"version": DELETED, "path": "a.bin"}, "NOT_FOUND", "VERSION_DELETED"),
    ("deleted", "SetAlias", {"version": DELETED, "alias": "new"}, "NOT_FOUND", "VERSION_DELETED"),
    ("deleted already", "DeleteVersion", {"version": DELETED}, "NOT_FOUND", "VERSION_DELETED"),
    ("deleted", "CopyVersion", {"source": DELETED, "model": "default/renamed"}, "NOT_FOUND", "VERSION_DELETED"),
    ("purged", "UndeleteVersion", {"version": PURGED}, "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("purged", "PurgeVersion", {"version": PURGED}, "NOT_FOUND", "VERSION_NOT_FOUND"),
    ("deleted content", "CreateVersion", version(parameters=[{"name": "number", "integer": "2"}]),
     "FAILED_PRECONDITION", "CONTENT_DELETED"),
    ("purged key", "CreateVersion", version() | {"idempotency_key": "key 3"}, "ALREADY_EXISTS",
     "IDEMPOTENCY_KEY_REUSED"),
    ("in use", "DeleteVersion", {"version": ONE}, "FAILED_PRECONDITION", "VERSION_IN_USE"),
    ("in use, by alias", "DeleteVersion", {"version": {"model": FRAUD, "alias": "champion"}},
     "FAILED_PRECONDITION", "VERSION_IN_USE"),
    ("in use", "DeleteModel", {"name": FRAUD}, "FAILED_PRECONDITION", "MODEL_IN_USE"),
    ("not deleted", "UndeleteVersion", {"version": ONE}, "FAILED_PRECONDITION", "NOT_DELETED"),
    ("not deleted", "PurgeVersion", {"version": ONE}, "FAILED_PRECONDITION", "NOT_DELETED"),
    ("not deleted", "UndeleteModel", {"name": FRAUD}, "FAILED_PRECONDITION", "NOT_DELETED"),
    ("not deleted", "PurgeModel", {"name": FRAUD}, "FAILED_PRECONDITION", "NOT_DELETED"),
    ("deleted", "GetModel", {"name": "default/deleted"}, "NOT_FOUND", "MODEL_DELETED"),
    ("deleted", "ListVersions", {"model": "default/deleted", "show_deleted": True}, "NOT_FOUND", "MODEL_DELETED"),
    ("deleted", "CopyVersion", {"source": ONE, "model": "default/deleted"}, "NOT_FOUND", "MODEL_DELETED"),
    ("name of a deleted", "CreateModel", {"name": "default/Deleted"}, "FAILED_PRECONDITION", "NAME_DELETED"),
    ("name of a purged", "CreateModel", {"name": "default/Purged"}, "FAILED_PRECONDITION", "NAME_RETIRED"),
    ("purged", "UndeleteModel", {"name": "default/purged"}, "NOT_FOUND", "MODEL_NOT_FOUND"),
    ("stale", "DeleteVersion", {"version": {"model": FRAUD, "number": 1}, "etag": "1"}, "ABORTED", "ETAG_MISMATCH"),
    ("stale", "PurgeVersion", {"version": DELETED, "etag": "1"}, "ABORTED", "ETAG_MISMATCH"),
    ("stale", "UndeleteModel", {"name": "default/deleted", "etag": "1"}, "ABORTED", "ETAG_MISMATCH"),
]  # fmt: skip
INVALID = [(*row[:3], "INVALID_ARGUMENT", row[3]) for row in NAMES + REQUESTS + LISTS + FILES + EVALUATIONS]
ROWS = INVALID + STATE


@pytest.mark.parametrize(("rpc", "fields", "code", "reason"), [row[1:] for row in ROWS], ids=[
    f"{row[1]}, {row[0]}, {row[4]}, {index}" for index, row in enumerate(ROWS)
])  # fmt: skip
async def test_a_bad_input_is_refused_for_its_reason_and_changes_nothing(
    registry: Running, rpc: str, fields: dict[str, Any], code: str, reason: str
) -> None:
    before = await sequence(registry)

    with pytest.raises(Refused) as refused:
        await call(registry.channel, rpc, fields)

    assert (refused.value.code, refused.value.reason) == (code, reason)
    assert refused.value.info.domain == "steelyard"
    assert refused.value.message.isprintable()
    assert len(refused.value.metadata["grpc-status-details-bin"]) <= 4096
    if code == "INVALID_ARGUMENT":
        assert refused.value.fields
    assert await sequence(registry) == before


async def test_ten_megabytes_of_labels_are_refused_by_the_transport(registry: Running) -> None:
    fields = {"name": "x", "labels": {f"key{index}": "x" * 4096 for index in range(2560)}}

    with pytest.raises(Refused) as refused:
        await call(registry.channel, "CreateNamespace", fields)

    assert refused.value.code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    "time", [{"seconds": 253402300800}, {"seconds": -62135596801}, {"nanos": 10**9}, {"nanos": -1}]
)
@pytest.mark.parametrize("rpc", ["GetVersion", "GetAlias", "ListAliases"])
async def test_row_64_a_time_out_of_range_is_refused(
    registry: Running, rpc: str, time: dict[str, int]
) -> None:
    named = {"version": ONE} if rpc == "GetVersion" else {"model": FRAUD}
    message = request_class(rpc)(**named, read_time=Timestamp(**time))

    with pytest.raises(Refused) as refused:
        await call_raw(registry.channel, rpc, message.SerializeToString())

    assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "TIMESTAMP_INVALID")
    assert refused.value.fields == ["read_time"]


async def test_a_page_token_of_another_query_is_refused(registry: Running) -> None:
    fields = {"namespace": "default", "page_size": 1}
    page = await call(registry.channel, "ListModels", fields)

    with pytest.raises(Refused) as refused:
        await call(registry.channel, "ListModels", {"namespace": "other", "page_token": page.next_page_token})

    assert refused.value.reason == "PAGE_TOKEN_INVALID"
    follows = await call(registry.channel, "ListModels", fields | {"page_token": page.next_page_token})
    assert follows.models[0].name > page.models[0].name


async def test_a_page_size_above_the_maximum_is_lowered(registry: Running) -> None:
    fields = {"namespace": "default", "page_size": LIMITS.page_size_maximum + 1}

    page: Message = await call(registry.channel, "ListModels", fields)

    assert not page.next_page_token  # type: ignore[attr-defined]


async def sequence(registry: Running) -> int:
    info = await call(registry.channel, "GetServerInfo")
    found: int = info.sequence
    return found
