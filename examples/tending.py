"""The second part of the main job: find, compare, measure again, delete, collect, back up, restore."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import training
from local_server import LocalServer
from rich.table import Table
from story import command, console, require, say, step

import steelyard
from steelyard.cli.output import size

if TYPE_CHECKING:
    from collections.abc import Mapping

METRICS = ("precision@holdout", "recall@holdout", "f1@holdout")


@dataclass(frozen=True)
class Registry:
    """What the steps work on: a server, a client of it, and a model that has versions."""

    server: LocalServer
    client: steelyard.Client
    model: str
    directory: Path

    def environment(self) -> dict[str, str]:
        """Return the environment of a command that asks this server."""
        cache = str(self.directory / "elsewhere" / "cache")
        return {**os.environ, "STEELYARD_SERVER": self.server.address, "STEELYARD_CACHE_DIR": cache}


def tend(registry: Registry, trained: Mapping[int, training.Trained]) -> None:
    """Run the steps, each on what the one before left; *trained* is by number of its version."""
    step(7, "Search: which version is the best on the hold-out data?")
    champion = search(registry)
    step(8, "Compare: why is it?")
    explain(registry, champion)
    step(9, "Measure all versions on noisier data, and record that")
    evaluate(registry, trained)
    step(10, "Delete the worst version, and collect what only it needed")
    delete_worst(registry)
    step(11, "Back up, and restore elsewhere: is it the same registry?")
    restored = back_up_and_restore(registry)
    step(12, "Serve the restored copy, and pull the champion from it")
    serve_copy(registry, restored, champion)


def search(registry: Registry) -> steelyard.Version:
    """Find the version that the alias should point to by its metrics alone."""
    wanted = "metrics.precision@holdout > 0.9 AND metrics.recall@holdout > 0.9"
    say(f"$ steelyard versions ls {registry.model} --filter '{wanted}' --order-by 'metrics.f1@holdout desc'")
    order = "metrics.f1@holdout desc"
    found = list(registry.client.versions.list(registry.model, filter=wanted, order_by=order))
    say(f"{len(found)} versions pass; the best is {found[0]}, {found[0].labels['algorithm']}.")
    require("the search finds the champion first", holds="champion" in found[0].aliases)
    return found[0]


def explain(registry: Registry, champion: steelyard.Version) -> None:
    """Show the versions side by side, in the terminal and as a page."""
    directions = {metric.partition("@")[0]: "higher-is-better" for metric in METRICS}
    registry.client.models.update(registry.model, metric_directions=directions)
    refs = [f"{registry.model}:{each.number}" for each in registry.client.versions.list(registry.model)]
    page = registry.directory / "comparison.html"
    shown = " ".join(["compare", *refs, "--html comparison.html"])
    command("compare", *refs, "--html", str(page), shown=shown, environment=registry.environment())
    compared = registry.client.compare(refs)
    show_metrics(compared)
    (best,) = [each.best for each in compared.metrics if each.metric == "f1@holdout"]
    say(f"The page has plots of all metrics, {size(page.stat().st_size)} that need no network.")
    number = f"{registry.model}:{champion.number}"
    require("the comparison marks the champion", holds=best[refs.index(number)])


def show_metrics(compared: steelyard.Comparison) -> None:
    """Print the metrics side by side, with a star at the best of each."""
    table = Table("metric", *compared.names, box=None)
    for each in compared.metrics:
        pairs = zip(each.values, each.best, strict=True)
        cells = (f"{value:.4f}{' *' if best else ''}" for value, best in pairs if value is not None)
        table.add_row(each.metric, *cells)
    console.print(table)


def evaluate(registry: Registry, trained: Mapping[int, training.Trained]) -> None:
    """Record what the classifiers do on data that none of them saw, and search by it."""
    data = training.noisy(training.load())
    dataset = steelyard.Dataset("noisy", role="holdout", digest=data.digest)
    for number, each in trained.items():
        metrics = training.measure(each.directory / "model.onnx", data, dataset="noisy")
        ref = f"{registry.model}:{number}"
        registry.client.evaluations.record(ref, metrics, datasets=[dataset], reason="sensors age")
        say(f"{ref}: f1@noisy is {metrics['f1@noisy']:.4f}")
    order = "evaluations.f1@noisy desc"
    (best, *_) = registry.client.versions.list(
        registry.model, filter="evaluations.f1@noisy > 0.5", order_by=order
    )
    say(f"The best on noisier data is {best}, {best.labels['algorithm']}.")


def delete_worst(registry: Registry) -> None:
    """Delete and purge a version, collect, and see that its bytes are gone and all others are right."""
    client = registry.client
    order = "metrics.f1@holdout"
    (worst, *_) = client.versions.list(registry.model, filter='NOT alias = "champion"', order_by=order)
    doomed = [path for path in map(registry.server.blob, _own_digests(client, worst)) if path.exists()]
    require("it has bytes of its own", holds=bool(doomed))
    before = client.maintenance.storage_usage().stored_bytes
    client.versions.delete(worst, reason="worst on the hold-out data")
    require("its bytes are still there, for an undelete", holds=all(path.exists() for path in doomed))
    client.versions.purge(worst, reason="nobody needs it")
    shown = "gc --grace 0 --trash 0 --end-leases"
    command(*shown.split(), shown=shown, environment=registry.environment())
    after = client.maintenance.storage_usage().stored_bytes
    say(f"{worst} is gone: the store has {size(before - after)} less.")
    require("its bytes are gone", holds=not any(path.exists() for path in doomed))
    checked = client.maintenance.verify_storage()
    say(f"All {checked.verified_blobs_count} blobs that are left are right, {size(checked.verified_bytes)}.")
    require("all others are right", holds=checked.problems_count == 0)


def _own_digests(client: steelyard.Client, version: steelyard.Version) -> set[str]:
    """Return the digests that no other version of the model has."""
    others = [each for each in client.versions.list(version.model) if each.number != version.number]
    shared = {file.digest for each in others for file in client.versions.files(each)}
    return {file.digest for file in client.versions.files(version)} - shared


def back_up_and_restore(registry: Registry) -> Path:
    """Make a backup while the server runs, restore it, and compare the digests of the two registries."""
    made = registry.client.maintenance.backup("demo")
    say(f"The backup has {made.blobs_count} blobs and all events up to {made.sequence}.")
    backup, restored = registry.directory / "backups" / "demo", registry.directory / "restored"
    shown = "restore backups/demo --data-dir restored --verify"
    words = ("restore", str(backup), "--data-dir", str(restored), "--verify", "--json")
    facts = json.loads(command(*words, shown=shown, environment=registry.environment()))
    console.print(f"   backup    {made.registry_digest}\n   restored  {facts['registry_digest']}")
    require("both have the same digest", holds=facts["registry_digest"] == made.registry_digest)
    return restored


def serve_copy(registry: Registry, restored: Path, champion: steelyard.Version) -> None:
    """Start a second server on what was restored, and read the champion from it."""
    server = LocalServer(restored)
    server.start()
    try:
        with steelyard.Client(server.address, cache_dir=registry.directory / "cache-of-copy") as client:
            client.pull(f"{registry.model}@champion", registry.directory / "from-copy")
            copy = client.get(f"{registry.model}@champion")
            evaluations = len(list(client.evaluations.list(copy)))
    finally:
        server.stop()
    say(f"{copy} came from the copy, with {evaluations} evaluation and digest {copy.digest[:19]}.")
    require("it is the same version", holds=copy.digest == champion.digest)
