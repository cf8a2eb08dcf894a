"""A candidate and an incumbent to run checks on, with what each test changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from steelyard_server.core.content import (
    Content,
    Dataset,
    File,
    Framework,
    Metric,
    Parameter,
    Schema,
    SchemaField,
    Source,
)
from steelyard_server.core.policies import expressions
from steelyard_server.core.policies.facts import Facts, Measurement, ModelFacts, Side
from steelyard_server.core.policies.findings import Finding, WithoutIncumbent

HOLDOUT, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
WEIGHTS, CONFIG, PICKLE = ("sha256:" + each * 64 for each in "cde")
DAY = 86_400_000_000
NOW = 1_800_000_000_000_000
CONTENT = Content(
    files=(File("model.safetensors", WEIGHTS, 700, "weights"), File("config.json", CONFIG, 30, "config")),
    parameters=(
        Parameter("depth", 6),
        Parameter("rate", 0.1),
        Parameter("kind", "gbm"),
        Parameter("dart", value=False),
    ),
    source=Source(repository="https://example.org/fraud", commit="4be2d1f", dirty=False),
    framework=Framework("xgboost"),
    schema=Schema((SchemaField("amount", "float32", (-1, 4)),), (SchemaField("score", "float32", (-1,)),)),
)
MODEL = ModelFacts(
    "risk/fraud",
    description="Card fraud",
    labels={"tier": "1"},
    owners=("group:risk",),
    metric_directions={"precision": "higher-is-better", "loss": "lower-is-better"},
)


def measured(
    digest: str = HOLDOUT, *, evaluation: str = "ev-2", days: int = 1, **values: float
) -> Measurement:
    """Return what was measured on the hold-out by a job."""
    metrics = tuple(Metric(name, "holdout", "", value) for name, value in values.items())
    datasets = (Dataset("holdout", digest=digest, role="test"),)
    return Measurement(metrics, datasets, "service:evaluation", NOW - days * DAY, evaluation)


def side(number: int, *measurements: Measurement, **changed: Any) -> Side:
    """Return a version that is complete but for what is *changed*."""
    plain = Side(
        text=f"risk/fraud:{number}",
        number=number,
        digest="sha256:" + f"{number:x}" * 64,
        creator="user:ann",
        create_time=NOW - 10 * DAY,
        content=CONTENT,
        measurements=measurements,
        labels={"team": "risk"},
        formats={WEIGHTS: "safetensors", CONFIG: "json", PICKLE: "pickle"},
    )
    return replace(plain, **changed)


CANDIDATE = side(
    7,
    measured(precision=0.94, loss=0.2),
    Measurement((Metric("precision", "holdout", "region=EU", 0.9),), (), "user:ann", NOW - 10 * DAY),
)
INCUMBENT = side(6, measured(precision=0.93, loss=0.25, evaluation="ev-1"))
FACTS = Facts(CANDIDATE, INCUMBENT, MODEL, NOW)
FIRST = Facts(CANDIDATE, None, MODEL, NOW)


def found(expression: str, facts: Facts = FACTS, *, without: str = "fail") -> Finding:
    """Compile and run a check."""
    return expressions.compile(expression, field="check").run(
        facts, without_incumbent=WithoutIncumbent(without)
    )


def told(expression: str, facts: Facts = FACTS, *, without: str = "fail") -> str:
    """Return the reason of what a check finds; it passes by two of them only."""
    finding = found(expression, facts, without=without)
    assert finding.passed == finding.reason.startswith("PASSED")
    return finding.reason.value
