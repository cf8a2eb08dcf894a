"""The main job works on real input, and says so when it does not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
# The README says two minutes; a machine that runs other tests beside it gets three times as much.
SECONDS = 360

# The file that was pulled predicts something else than the one that was pushed.
OTHER_PREDICTIONS = """
import training
real = training.predict
training.predict = lambda model, inputs: real(model, inputs) + ("elsewhere" in str(model))
"""
# A collection does nothing.
NO_COLLECTION = """
import tending
real = tending.command
tending.command = lambda *words, **options: "" if words[0] == "gc" else real(*words, **options)
"""
# The backup that is restored is not the one that was made.
OTHER_BACKUP = """
import tending
real = tending.command

def command(*words, **options):
    if words[0] == "restore":
        backups = Path(words[1]).parent
        registry.client.aliases.set("tumors:2", "challenger")
        registry.client.maintenance.backup("later")
        words = ("restore", str(backups / "later"), *words[2:])
    return real(*words, **options)

def search(given):
    global registry
    registry = given
    return found(given)

found = tending.search
tending.search = search
tending.command = command
"""
# Of the second part only what the last one builds on.
SHORTER = """
import deciding, tending
tending.tend = lambda registry, trained: tending.explain(registry, tending.search(registry))
"""
# The policy looks at nothing.
NO_CHECK = f"""{SHORTER}
deciding.POLICY = deciding.POLICY.replace('better("precision@holdout", 0.0)', "candidate.number > 0")
"""
# The second person is the first one.
ONE_PERSON = f"""{SHORTER}
real = deciding.propose_better
deciding.propose_better = lambda ada, grace: real(ada, ada)
"""
SABOTAGE = """
import runpy, sys
from pathlib import Path
sys.path.insert(0, {examples!r})
{change}
runpy.run_path({script!r}, run_name="__main__")
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
    )


@pytest.mark.timeout(SECONDS + 30)
def test_the_main_job_works() -> None:
    done = run(str(EXAMPLES / "main_job.py"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "171 of 171 predictions on the hold-out data are equal." in done.stdout
    assert re.search(r"the best is default/tumors:\d", done.stdout)
    assert re.search(r"f1@holdout .*\d \*", done.stdout)
    assert re.search(r"is gone: the store has \d+\.\d KiB less\.", done.stdout)
    assert re.search(r"#1 is refused[^$]* candidate 0\.9\d+, incumbent 0\.9\d+", done.stdout)
    assert "user:ada cannot approve default/tumors#2: they proposed it." in done.stdout
    assert re.search(r"user:grace +promotion.approve +promotion/default/tumors#2 ", done.stdout)
    backup, restored = re.findall(r"(?:backup|restored) +(sha256:[0-9a-f]{64})", done.stdout)
    assert backup == restored
    took = re.search(r"All of it worked, in (\d+) seconds\.\n$", done.stdout)
    assert took is not None, done.stdout
    assert int(took[1]) <= SECONDS


@pytest.mark.timeout(SECONDS + 30)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (OTHER_PREDICTIONS, "It is not so that all predictions are equal."),
        (NO_COLLECTION, "It is not so that its bytes are gone."),
        (OTHER_BACKUP, "It is not so that both have the same digest."),
        (NO_CHECK, "It is not so that `steelyard promote` ends with exit code 3, but with 0."),
        (ONE_PERSON, "It is not so that `steelyard approve` ends with exit code 0, but with 3."),
    ],
    ids=["predictions", "collection", "backup", "check", "person"],
)
def test_the_main_job_fails_when_a_step_does_not_do_what_it_says(change: str, message: str) -> None:
    script = str(EXAMPLES / "main_job.py")
    done = run("-c", SABOTAGE.format(examples=str(EXAMPLES), script=script, change=change))
    assert done.returncode == 1, done.stdout + done.stderr
    assert message in done.stdout
