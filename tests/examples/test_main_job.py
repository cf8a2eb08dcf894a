"""The main job works on real input, and says so when it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
# The README says a minute; a machine that runs other tests beside it gets three.
SECONDS = 180

# The file that was pulled predicts something else than the one that was pushed.
SABOTAGE = """
import runpy, sys
sys.path.insert(0, {examples!r})
import training
real = training.predict
training.predict = lambda model, inputs: real(model, inputs) + ("elsewhere" in str(model))
runpy.run_path({script!r}, run_name="__main__")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_the_main_job_works() -> None:
    done = run(str(EXAMPLES / "main_job.py"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "171 of 171 predictions on the hold-out data are equal." in done.stdout
    took = re.search(r"All of it worked, in (\d+) seconds\.\n$", done.stdout)
    assert took is not None, done.stdout
    assert int(took[1]) <= SECONDS


def test_the_main_job_fails_when_a_prediction_differs() -> None:
    script = str(EXAMPLES / "main_job.py")
    done = run("-c", SABOTAGE.format(examples=str(EXAMPLES), script=script))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "It is not so that all predictions are equal." in done.stdout
