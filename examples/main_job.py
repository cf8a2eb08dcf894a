"""The main job, whole: train, push, crash, resume, pull, predict; tend it all; decide by a policy.

    python examples/main_job.py

It ends with an error when any step did not do what it says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import training
from deciding import decide
from local_server import LocalServer
from rich.table import Table
from story import Failed, command, console, require, say, step
from tending import Registry, tend

import steelyard
from steelyard.cli.output import size

MODEL = "tumors"
LARGE_BYTES = 256 * 1024**2


def main() -> None:
    """Run all steps in a directory that goes away at the end."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="steelyard-demo-") as name:
        directory = Path(name)
        server = LocalServer(directory / "registry", backup_dir=directory / "backups")
        try:
            run(server, directory)
        finally:
            server.stop()
    console.print(f"\n[bold green]All of it worked[/], in {time.monotonic() - begin:.0f} seconds.")


def run(server: LocalServer, directory: Path) -> None:
    """Run the steps, each on what the one before left."""
    step(1, "Start a server on an empty directory")
    server.start()
    say(f"It listens on {server.address}.")
    with steelyard.Client(server.address, cache_dir=directory / "cache") as client:
        step(2, "Train three classifiers, export them to ONNX, push each as a version")
        trained = push_trained(client, directory)
        step(3, "Kill the server in the middle of a larger upload, start it again, go on")
        crash_and_resume(client, server, directory)
        step(4, "Point the alias champion at the best")
        champion = choose_champion(client)
        step(5, "Pull the champion into a fresh directory, from another process")
        copy = pull_elsewhere(server, directory)
        step(6, "Load it with onnxruntime: does it predict what it predicted before?")
        compare(copy, trained[champion])
        registry = Registry(server, client, MODEL, directory)
        tend(registry, trained)
        decide(registry)
    step(18, "Stop the server")
    require("the server ends with exit code 0", holds=server.stop() == 0)


def push_trained(client: steelyard.Client, directory: Path) -> dict[int, training.Trained]:
    """Train and push; return what was trained by the number of its version."""
    data = training.load()
    dataset = steelyard.Dataset("holdout", role="holdout", digest=data.digest, version="scikit-learn")
    by_number = {}
    for name, classifier in training.classifiers().items():
        trained = training.train(name, classifier, data, directory / name)
        pushed = client.push(
            MODEL,
            trained.directory,
            metrics=trained.metrics,
            parameters=trained.parameters,
            datasets=[dataset],
            labels={"algorithm": name},
            capture=True,
        )
        by_number[pushed.version.number] = trained
    show_versions(client)
    show_captured(client)
    require("each is a version of its own", holds=len(by_number) == len(training.classifiers()))
    return by_number


def show_versions(client: steelyard.Client) -> None:
    """Print what the registry has."""
    names = ("precision@holdout", "recall@holdout", "f1@holdout")
    headers = (name.partition("@")[0] for name in names)
    table = Table("version", "algorithm", *headers, "digest", box=None)
    for version in client.versions.list(MODEL):
        metrics = (f"{version.metrics[name]:.4f}" for name in names)
        table.add_row(f"{version.number}", version.labels["algorithm"], *metrics, version.digest[:19])
    console.print(table)


def show_captured(client: steelyard.Client) -> None:
    """Print what the pushes recorded by themselves of the newest version."""
    version = client.get(MODEL)
    packages = client.read(version, "steelyard.lock").decode().splitlines()
    require("the schema was read from the file", holds=version.schema is not None)
    fields = version.schema.inputs if version.schema else ()
    say(f"Recorded by itself: {packages[0][2:]} with {len(packages) - 1} packages, and of the ONNX file")
    say(", ".join(f"the input {each.name}: {each.type}{list(each.shape)}" for each in fields) + ".")
    if version.source and version.source.commit:
        changes = " with uncommitted changes" if version.source.dirty else ""
        say(f"The code is at commit {version.source.commit[:12]}{changes}.")


def crash_and_resume(client: steelyard.Client, server: LocalServer, directory: Path) -> None:
    """Push a larger file, and kill the server when half of it is there."""
    large = directory / "larger" / "weights.bin"
    large.parent.mkdir()
    large.write_bytes(os.urandom(LARGE_BYTES))
    restarter = threading.Thread(target=server.start)

    def crash(progress: steelyard.Progress) -> None:
        if progress.phase == "upload" and progress.done_bytes > LARGE_BYTES // 2 and restarter.ident is None:
            server.kill()
            say(f"Killed with {size(progress.done_bytes)} of {size(LARGE_BYTES)} sent; started again.")
            restarter.start()

    pushed = client.push("larger", large.parent, progress=crash)
    restarter.join()
    say(f"The push went on by itself: {size(pushed.uploaded_bytes)} were sent in all.")
    require("the server was killed", holds=restarter.ident is not None)
    require("what the server had was not sent again", holds=pushed.uploaded_bytes < LARGE_BYTES * 3 // 2)
    client.verify("larger")
    say("Every byte that the server has is right.")


def choose_champion(client: steelyard.Client) -> int:
    """Point the alias to the version with the best F1 and return its number."""
    best = max(client.versions.list(MODEL), key=lambda version: version.metrics["f1@holdout"])
    alias = client.aliases.set(best, "champion", reason="best F1 on the hold-out data")
    require("the alias points to the best", holds=client.get(f"{MODEL}@champion").number == best.number)
    say(f"{MODEL}@champion is {best}, {best.labels['algorithm']}.")
    return alias.number


def pull_elsewhere(server: LocalServer, directory: Path) -> Path:
    """Run `steelyard pull` and return where the files are."""
    copy = directory / "elsewhere" / "champion"
    environment = {**os.environ, "STEELYARD_CACHE_DIR": str(directory / "elsewhere" / "cache")}
    words = ("--server", server.address, "pull", f"{MODEL}@champion", str(copy))
    command(*words, shown=" ".join(words[2:]), environment=environment)
    return copy


def compare(copy: Path, trained: training.Trained) -> None:
    """Predict with the pulled file."""
    predictions = training.predict(copy / "model.onnx", training.load().holdout_inputs)
    equal = int(np.sum(predictions == trained.predictions))
    say(f"{equal} of {len(predictions)} predictions on the hold-out data are equal.")
    require("all predictions are equal", holds=np.array_equal(predictions, trained.predictions))


if __name__ == "__main__":
    try:
        main()
    except (Failed, steelyard.SteelyardError, RuntimeError, subprocess.SubprocessError) as error:
        console.print(f"\n[bold red]It did not work:[/] {error}")
        sys.exit(1)
