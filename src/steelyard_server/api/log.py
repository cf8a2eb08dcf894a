"""Structured logs: one line per call, JSON for programs, columns for a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import orjson
import structlog

Format = Literal["auto", "json", "console"]
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def set_up(*, level: str, form: Format) -> None:
    """Send logs to standard error, once per process."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderers: list[structlog.typing.Processor] = (
        # By default a traceback has the values of variables: bytes of blobs, which take seconds to print.
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_encoded)]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    _take_over(LEVELS[level])


def _take_over(level: int) -> None:
    """Have what logs through the standard library come out as the same kind of line."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger = structlog.get_logger(record.name)
            logger.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)

    logging.basicConfig(level=max(level, logging.WARNING), handlers=[Handler()], force=True)


def _encoded(line: object, **_: object) -> str:
    return orjson.dumps(line, default=repr).decode()
