"""Lines of the log, in both forms, as a process writes them."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import structlog
from steelyard_server.api import log

log.set_up(level="info", form=sys.argv[1])
data = "-".join(["a", "secret"])
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger("steelyard.call").exception("incident", incident="7")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_incident_shows_where_it_happened_and_no_values(form: str) -> None:
    """Values may be megabytes of somebody's weights, which took seconds to print."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, timeout=60, check=True
    )

    assert "ZeroDivisionError: division by zero" in ended.stderr
    assert "incident" in ended.stderr
    assert "a-secret" not in ended.stderr
