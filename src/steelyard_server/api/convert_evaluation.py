"""Evaluations: messages to values and back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from steelyard.v1 import evaluation_pb2 as pb
from steelyard_server.api import convert, convert_content
from steelyard_server.core.evaluations import Draft
from steelyard_server.core.names import INT64_MAXIMUM
from steelyard_server.errors import PageTokenInvalid

if TYPE_CHECKING:
    from steelyard_server.core.evaluations import Evaluation

_POSITION = re.compile(r"([0-9]{1,19})/(-?[0-9]{1,19})/([0-9]{1,19})", re.ASCII)


def draft(message: pb.Evaluation) -> Draft:
    """Read what a client measured, unchecked but for enums and times."""
    report = convert_content.file(message.report, field="evaluation.report")
    return Draft(
        metrics=convert_content.metrics(message.metrics),
        datasets=convert_content.datasets(message.datasets),
        evaluate_time=convert.read_time(message, field="evaluate_time"),
        uri=message.uri,
        report=report if message.HasField("report") else None,
        description=message.description,
        origin=convert.stated_origin(message, field="evaluation.origin"),
    )


def evaluation(value: Evaluation) -> pb.Evaluation:
    """Turn an evaluation into a message."""
    return pb.Evaluation(
        uid=value.uid,
        model=value.model,
        number=value.number,
        digest=value.digest,
        metrics=[convert_content.metric_message(each) for each in value.metrics],
        datasets=[convert_content.dataset_message(each) for each in value.datasets],
        evaluate_time=convert.timestamp(value.evaluate_time),
        uri=value.uri,
        report=convert_content.file_message(value.report) if value.report else None,
        description=value.description,
        evaluator=convert.actor(value.evaluator),
        create_time=convert.timestamp(value.create_time),
        sequence=value.sequence,
        superseded=value.superseded,
        origin=convert.origin(value.origin) if value.origin else None,
    )


def position_text(number: int, last: Evaluation) -> str:
    """Write where a list goes on; with the version, for an alias may move between two pages."""
    return f"{number}/{last.evaluate_time}/{last.sequence}"


def position(text: str | None) -> tuple[int | None, tuple[int, int] | None]:
    """Read the version of a list of evaluations and behind which one it goes on; None for the first page.

    Raises:
        PageTokenInvalid: the text is not of `position_text`.
    """
    if text is None:
        return None, None
    found = _POSITION.fullmatch(text)
    number, time, sequence = map(int, found.groups()) if found else (0, 0, 0)
    if max(number, abs(time), sequence) > INT64_MAXIMUM or number == 0:
        message = "The page token names no place in this list; start again without a token."
        raise PageTokenInvalid(message, field="page_token")
    return number, (time, sequence)
