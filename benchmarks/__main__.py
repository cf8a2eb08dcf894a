"""``python -m benchmarks [--quick] [--only NAME]``: measure, show, and write results.md."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import (
    memory,
    report,
    rows_backup,
    rows_bytes,
    rows_compare,
    rows_files,
    rows_import,
    rows_lists,
    rows_login,
    rows_maintenance,
    rows_metadata,
    rows_process,
    rows_promote,
    rows_watch,
)
from benchmarks.measure import GIB, ROOT, Row, Run

RESULTS = ROOT / "benchmarks" / "results.md"
MLFLOW = ROOT / ".venv-bench" / "bin" / "mlflow"
BYTE_ROWS = {*rows_bytes.ROWS, *rows_files.ROWS, *rows_maintenance.ROWS}
# Page cache of what is moved, messages under way, and waste.
MEMORY_GIB, QUICK_MEMORY_GIB = 6, 2
ROUNDS, QUICK_ROUNDS = 5, 2
ROWS = {
    **rows_metadata.ROWS,
    **rows_login.ROWS,
    **rows_lists.ROWS,
    **rows_compare.ROWS,
    **rows_promote.ROWS,
    **rows_import.ROWS,
    **rows_bytes.ROWS,
    **rows_files.ROWS,
    **rows_process.ROWS,
    **rows_watch.ROWS,
    **rows_maintenance.ROWS,
    **rows_backup.ROWS,
}

app = typer.Typer(add_completion=False)


@app.command(help=f"Measure rows: {', '.join(ROWS)}.")
def main(
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, no MLflow, under three minutes.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="Measure this row; repeat it.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds; 0 takes the usual number.")] = 0,
    scratch: Annotated[Path | None, typer.Option(help="Directory on the disk to measure.")] = None,
    output: Annotated[Path | None, typer.Option(help="Where to write the page.")] = None,
    mlflow: Annotated[bool, typer.Option(help="Measure MLflow too.")] = True,
    profiles: Annotated[
        Path | None, typer.Option(help="Run servers under cProfile; leave files here.")
    ] = None,
) -> None:
    """Measure all rows, or those named, and show them. A full run writes benchmarks/results.md."""
    names = only or list(ROWS)
    if unknown := set(names) - set(ROWS):
        raise typer.BadParameter(f"unknown rows {', '.join(unknown)}; there are {', '.join(ROWS)}")
    rounds = rounds or (QUICK_ROUNDS if quick else ROUNDS)
    command = MLFLOW if mlflow and not quick else None
    measured: dict[str, Row] = {}
    try:
        _measure(
            names, measured, quick=quick, rounds=rounds, scratch=scratch, mlflow=command, profiles=profiles
        )
    finally:
        # A row that fails ends the run; what took long before it is not lost.
        report.show(measured)
    output = output or (RESULTS if not (quick or only or profiles) else None)
    if output:
        parts = [*["--quick"] * quick, *(f"--only {name}" for name in only or ())]
        parts += [*[f"--rounds {rounds}"] * (rounds != ROUNDS), *["--no-mlflow"] * (not mlflow)]
        line = " ".join(["python -m benchmarks", *parts])
        report.write(
            output, measured, command=line, quick=quick, mlflow=_mlflow_version(command), rounds=rounds
        )


def _measure(
    names: list[str],
    measured: dict[str, Row],
    *,
    quick: bool,
    rounds: int,
    scratch: Path | None,
    mlflow: Path | None,
    profiles: Path | None,
) -> None:
    """Measure rows one after the other into *measured*."""
    console = Console(stderr=True)
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="steelyard-bench-", dir=scratch))
        if BYTE_ROWS & set(names):
            console.print("touching memory", highlight=False)
            stack.enter_context(memory.backed((QUICK_MEMORY_GIB if quick else MEMORY_GIB) * GIB))
        for index, name in enumerate(names, start=1):
            place = Path(directory) / name
            place.mkdir()

            def say(text: str, *, head: str = f"[{index}/{len(names)}] {name}") -> None:
                console.print(f"{head}: {text}", highlight=False, markup=False)

            run = Run(place, quick=quick, rounds=rounds, mlflow=mlflow, profiles=profiles, say=say)
            measured[name] = ROWS[name](run)
            shutil.rmtree(place)


def _mlflow_version(command: Path | None) -> str:
    if command is None:
        return "MLflow was not measured"
    done = subprocess.run([str(command), "--version"], check=True, capture_output=True, text=True)
    return f"MLflow {done.stdout.split()[-1]}"


if __name__ == "__main__":
    app(prog_name="python -m benchmarks")
