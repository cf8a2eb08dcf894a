"""``evaluations``: record what was measured on a version later, list it, read reports."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import output, session, values

if TYPE_CHECKING:
    from steelyard import Dataset
    from steelyard.types import Evaluation

app = typer.Typer(help="What was measured on a version after it was made.", no_args_is_help=True)

Ref = Annotated[str, typer.Argument(help="fraud:3, fraud:1.4.0, fraud@champion or fraud@sha256:….")]


@app.command("record")
def record(
    context: typer.Context,
    ref: Ref,
    metric: Annotated[
        list[str], typer.Option("-m", "--metric", help="precision@newdata[region=EU]=0.93; repeat it.")
    ],
    dataset: Annotated[
        list[str] | None, typer.Option(help="newdata=PATH or newdata=URI; a path is hashed; repeat it.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="File to keep with the evaluation.")] = None,
    uri: Annotated[str, typer.Option(help="Where more is to be seen.")] = "",
    time: Annotated[
        str, typer.Option(help="When it was measured, as 2026-10-01T12:00:00Z; now by default.")
    ] = "",
    description: Annotated[str, typer.Option("-d", "--description", help="Text for people.")] = "",
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    json: output.Json = False,
) -> None:
    """Append metrics that were measured on a version.

    Nothing that was recorded changes. Of several measures of one metric the newest counts.
    """
    measured = values.metrics(metric)
    when = _time(time) if time else None
    places = values.pairs(dataset or [], option="--dataset")
    with session.of(context).client() as client:
        found = client.evaluations.record(
            ref,
            measured,
            datasets=[_dataset(name, place) for name, place in places.items()],
            evaluate_time=when,
            uri=uri,
            report=report,
            description=description,
            reason=reason,
        )
    count = output.count(len(found.metrics), "metric")
    text = f"{found.model}:{found.number} is evaluated: {count}, {found.uid}."
    output.changed(text, found.message, json=json)
    if not json and found.superseded:
        output.note(
            f"newer measures are recorded of {', '.join(sorted(found.superseded))}; those go on to count."
        )


@app.command("ls")
def ls(
    context: typer.Context,
    ref: Ref,
    limit: Annotated[int, typer.Option(min=1, help="List at most so many.")] = 50,
    json: output.Json = False,
) -> None:
    """List the evaluations of a version, the newest first; measures that were superseded are in brackets."""
    found = []
    with session.of(context).client() as client:
        for evaluation in client.evaluations.list(ref):
            found.append(evaluation)
            if len(found) == limit:
                break
    if json:
        output.messages_json(each.message for each in found)
        return
    headers = ("measured (UTC)", "metrics", "datasets", "report", "by", "uri", "evaluation")
    output.table(headers, map(_row, found))


@app.command("cat")
def cat(
    context: typer.Context, ref: Ref, evaluation: Annotated[str, typer.Argument(help="Its uid, from ls.")]
) -> None:
    """Write the report of an evaluation to standard output."""
    with session.of(context).client() as client:
        report = client.evaluations.read_report(client.evaluations.get(ref, evaluation))
    sys.stdout.buffer.write(report)
    sys.stdout.buffer.flush()


def _row(evaluation: Evaluation) -> tuple[object, ...]:
    metrics = [
        f"({name}={value:.6g})" if name in evaluation.superseded else f"{name}={value:.6g}"
        for name, value in evaluation.metrics.items()
    ]
    report = evaluation.report
    return (
        f"{evaluation.evaluate_time:%Y-%m-%d %H:%M:%S}",
        metrics,
        [each.name for each in evaluation.datasets],
        f"{report.path}, {output.size(report.size_bytes)}" if report else "",
        _measured_by(evaluation),
        evaluation.uri,
        evaluation.uid,
    )


def _measured_by(evaluation: Evaluation) -> str:
    """Say who recorded an evaluation; of an imported one who is said to have, and who imported it."""
    who = output.actor(evaluation.evaluator)
    if evaluation.origin is None:
        return who
    return f"{evaluation.origin.creator or 'unknown'} (stated), imported by {who}"


def _dataset(name: str, place: str) -> Dataset:
    import steelyard

    if values.is_path(place):
        return steelyard.Dataset.from_path(place, name=name)
    return steelyard.Dataset(name=name, uri=place)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.utcoffset() is None:
        message = f"{text!r} is no time with a zone, as 2026-10-01T12:00:00Z."
        raise typer.BadParameter(message, param_hint="--time")
    return time
