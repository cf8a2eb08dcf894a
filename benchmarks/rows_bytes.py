"""One large file, up and down."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks import mlflow_server, servers, transfer
from benchmarks.measure import (
    FLOOR,
    GIB,
    MIB,
    MLFLOW,
    STEELYARD,
    Row,
    Run,
    at_least,
    child,
)
from benchmarks.servers import Served
from steelyard.v1 import (
    content_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    version_service_pb2,
    version_service_pb2_grpc,
)

GRPC_FLOOR = "floor over gRPC"
CLIENT = "`steelyard.Client`"
MODEL = "default/model"
UNIT = "MB/s"
UPLOAD_NOTE = (
    "the floor reads, hashes, writes, syncs and renames in one process; the one over gRPC is the same client "
    "and a server of the least code"
)


def upload(run: Run, *, known: bool) -> Row:
    """Measure an upload whose digest the client knows, or computes on the way."""
    source, digest = _source(run)
    given = digest if known else ""
    subjects: dict[str, Callable[[], float]] = {
        FLOOR: partial(_copy, run, source, durable=True),
        GRPC_FLOOR: partial(_upload, run, source, given, servers.floor),
        STEELYARD: partial(_upload, run, source, given, partial(_steelyard, run)),
    }
    if not known:
        subjects[CLIENT] = partial(_push, run, source)
    if run.mlflow:
        subjects[MLFLOW] = partial(_mlflow_upload, run, source)
    samples = run.in_turn(subjects)
    one_pass = (at_least(0.7, FLOOR, samples), at_least(1.7, MLFLOW, samples))
    goals = (at_least(0.8, FLOOR, samples),) if known else one_pass
    title = "digest known to the client" if known else "digest computed in the same pass"
    return Row(f"upload {_size(source)}, verified and durable, {title}", UNIT, samples, goals, (UPLOAD_NOTE,))


def download(run: Run) -> Row:
    """Measure a download that the client verifies."""
    source, digest = _source(run)
    with ExitStack() as stack:
        least = stack.enter_context(servers.floor(run.directory()))
        served = stack.enter_context(servers.steelyard(run.directory(), profile=run.profile("download")))
        for each in (least, served):
            child("transfer", do="upload", address=each.address, path=str(source))
        _register(served, source, digest)
        subjects: dict[str, Callable[[], float]] = {
            FLOOR: partial(_copy, run, source, durable=False),
            GRPC_FLOOR: partial(_download, run, least, source, digest),
            STEELYARD: partial(_download, run, served, source, digest),
            CLIENT: partial(_pull, run, served, source),
        }
        if run.mlflow:
            other = stack.enter_context(mlflow_server.mlflow(run.mlflow, run.directory()))
            child("transfer", do="mlflow_upload", address=other.address, path=str(source))
            subjects[MLFLOW] = partial(_mlflow_download, run, other, source)
        samples = run.in_turn(subjects)
    goals = (at_least(0.75, FLOOR, samples), at_least(2.5, MLFLOW, samples))
    notes = ("the floor reads, hashes and writes; MLflow's client verifies nothing",)
    return Row(f"download {_size(source)}, verified", UNIT, samples, goals, notes)


def _source(run: Run) -> tuple[Path, str]:
    """Make a file of random bytes; return it with its digest."""
    size_bytes = run.choose(GIB, 256 * MIB)
    path = run.directory() / transfer.NAME
    hashed = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size_bytes // MIB):
            piece = os.urandom(MIB)
            hashed.update(piece)
            file.write(piece)
    return path, f"sha256:{hashed.hexdigest()}"


def _copy(run: Run, source: Path, *, durable: bool) -> float:
    with _place(run) as place:
        return _rate(
            source, child("transfer", do="copy", path=str(source), target=str(place / "a"), durable=durable)
        )


def _upload(run: Run, source: Path, digest: str, serve: Callable[..., servers.Serving]) -> float:
    with _place(run) as place, serve(place) as served:
        return _rate(
            source, child("transfer", do="upload", address=served.address, path=str(source), digest=digest)
        )


def _steelyard(run: Run, place: Path) -> servers.Serving:
    return servers.steelyard(place, profile=run.profile("upload"))


def _push(run: Run, source: Path) -> float:
    with _place(run) as place, _steelyard(run, place) as served:
        job = {"address": served.address, "path": str(source), "cache": str(run.directory())}
        return _rate(source, child("client_job", do="push", **job)["seconds"])


def _pull(run: Run, served: Served, source: Path) -> float:
    with _place(run) as place:
        job = {"address": served.address, "cache": str(place / "cache"), "target": str(place / "target")}
        return _rate(source, child("client_job", do="pull", model=MODEL, **job)["seconds"])


def _download(run: Run, served: Served, source: Path, digest: str) -> float:
    with _place(run) as place:
        job = {"address": served.address, "model": MODEL, "target": str(place / "target"), "digest": digest}
        return _rate(source, child("transfer", do="download", **job))


def _mlflow_upload(run: Run, source: Path) -> float:
    assert run.mlflow is not None
    with _place(run) as place, mlflow_server.mlflow(run.mlflow, place) as served:
        return _rate(source, child("transfer", do="mlflow_upload", address=served.address, path=str(source)))


def _mlflow_download(run: Run, served: Served, source: Path) -> float:
    with _place(run) as place:
        target = str(place / "target")
        return _rate(source, child("transfer", do="mlflow_download", address=served.address, target=target))


@contextmanager
def _place(run: Run) -> Iterator[Path]:
    """Make a directory to write to, with nothing left to write from before, and remove it at the end."""
    place = run.directory()
    os.sync()
    yield place
    shutil.rmtree(place)


def _register(served: Served, source: Path, digest: str) -> None:
    """Make a model with one version that has the file."""
    with transfer.connected(served.address) as channel:
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        models.CreateModel(model_service_pb2.CreateModelRequest(name=MODEL))
        file = content_pb2.File(path=transfer.NAME, digest=digest, size_bytes=source.stat().st_size)
        request = version_service_pb2.CreateVersionRequest(
            model=MODEL, content=content_pb2.Content(files=[file])
        )
        version_service_pb2_grpc.VersionServiceStub(channel).CreateVersion(request)


def _rate(source: Path, seconds: float) -> float:
    return source.stat().st_size / seconds / 1_000_000


def _size(source: Path) -> str:
    size_bytes = source.stat().st_size
    return f"{size_bytes // GIB} GiB" if size_bytes >= GIB else f"{size_bytes // MIB} MiB"


ROWS: dict[str, Callable[[Run], Row]] = {
    "upload": partial(upload, known=False),
    "upload-known": partial(upload, known=True),
    "download": download,
}
