"""Unary calls: get, create and move, with few and with many versions."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc

from benchmarks import fill, mlflow_server, sample, servers
from benchmarks.measure import FLOOR, MLFLOW, STEELYARD, Goal, Row, Run, Samples, at_least, child
from benchmarks.servers import Served
from steelyard.v1 import model_service_pb2, model_service_pb2_grpc

CALLERS = 8
FEW = "Steelyard, 10 versions"
TITLES = {
    "get": "get a version by alias",
    "create": "create a version (durable; 3 files, 3 metrics, its event)",
    "alias": "move an alias (durable)",
}


@dataclass(slots=True)
class Load:
    """Calls to one server; `cpu_ms` is what each took of its processors, a value a round."""

    served: Served
    ask: Callable[[], Any]
    cpu_ms: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        """Return calls per second."""
        before = self.served.cpu_seconds()
        answer = self.ask()
        self.cpu_ms.append((self.served.cpu_seconds() - before) / answer["calls"] * 1000)
        return float(answer["calls_per_second"])


def few(run: Run, *, call: str) -> Row:
    """Measure *call* in a model of ten versions."""
    with ExitStack() as stack:
        least = stack.enter_context(servers.floor(run.directory()))
        loads = {
            FLOOR: Load(least, lambda: _ask(run, call, least, floor=True)),
            STEELYARD: _steelyard(run, call, stack, count=sample.SMALL_VERSIONS),
            **_mlflow(run, call, stack, count=sample.SMALL_VERSIONS),
        }
        samples = run.in_turn(loads)
    note = "the floor is an empty method" + ("" if call == "get" else ", which writes nothing")
    return Row(
        f"{TITLES[call]}, {CALLERS} callers",
        "calls/s",
        samples,
        _goals(call, samples),
        (note, cpu_note(loads)),
    )


def many(run: Run, *, call: str) -> Row:
    """Measure *call* in a model of 100,000 versions and in one of ten."""
    count = run.choose(100_000, 2_000)
    with ExitStack() as stack:
        loads = {
            FEW: _steelyard(run, call, stack, count=sample.SMALL_VERSIONS),
            STEELYARD: _steelyard(run, call, stack, count=count),
            **_mlflow(run, call, stack, count=count),
        }
        samples = run.in_turn(loads)
    title = f"{TITLES[call]}, {CALLERS} callers, {count:,} versions in the model"
    goal = at_least(round(1 / 1.2, 3), FEW, samples)
    return Row(title, "calls/s", samples, (goal,), (cpu_note(loads),))


def _goals(call: str, samples: dict[str, Samples]) -> tuple[Goal, ...]:
    if call == "get":
        return at_least(0.8, FLOOR, samples), at_least(16, MLFLOW, samples)
    return (at_least({"create": 10, "alias": 20}[call], MLFLOW, samples),)


def cpu_note(loads: Mapping[str, Load]) -> str:
    """Say how much of its processors each server took for a call."""
    each = (f"{name} {statistics.median(load.cpu_ms):.2f} ms" for name, load in loads.items())
    return f"processor time of the server a call: {', '.join(each)}"


def _steelyard(run: Run, call: str, stack: ExitStack, *, count: int) -> Load:
    run.say(f"filling a model with {count:,} versions")
    directory = fill.filled(run.directory(), count=count)
    profile = run.profile(f"{call}-{count}")
    served = stack.enter_context(servers.steelyard(directory, profile=profile))
    fresh = call == "create" and count == sample.SMALL_VERSIONS
    models = _new_models(served) if fresh else lambda: sample.MODEL
    return Load(served, lambda: _ask(run, call, served, model=models()))


def _ask(run: Run, call: str, served: Served, *, model: str = sample.MODEL, floor: bool = False) -> Any:
    return child("load", address=served.address, model=model, floor=floor, **_load(run, call))


def _new_models(served: Served) -> Callable[[], str]:
    """Return what makes an empty model, so that a model of few versions has few in every round."""
    numbers = itertools.count()

    def make() -> str:
        name = f"default/few-{next(numbers)}"
        with grpc.insecure_channel(served.address) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            stub.CreateModel(model_service_pb2.CreateModelRequest(name=name), wait_for_ready=True, timeout=10)
        return name

    return make


def _mlflow(run: Run, call: str, stack: ExitStack, *, count: int) -> dict[str, Load]:
    if run.mlflow is None:
        return {}
    run.say(f"filling MLflow with {count:,} versions")
    directory = mlflow_server.filled(run.mlflow, run.directory(), count=count)
    served = stack.enter_context(mlflow_server.mlflow(run.mlflow, directory))
    return {MLFLOW: Load(served, lambda: child("load_mlflow", address=served.address, **_load(run, call)))}


def _load(run: Run, call: str) -> dict[str, Any]:
    return {"call": call, "callers": CALLERS, "seconds": run.choose(5, 1)}


ROWS: dict[str, Callable[[Run], Row]] = {
    **{call: partial(few, call=call) for call in TITLES},
    **{f"{call}-many": partial(many, call=call) for call in TITLES},
}
