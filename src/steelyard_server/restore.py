"""``steelyard restore``: bring a backup back into an empty data directory, or only check it."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from steelyard_server import config as settings
from steelyard_server.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard_server.backups.inventory import Inventory

EXIT_USAGE, EXIT_REFUSED, EXIT_DAMAGED = 2, 3, 8
# Digests that are named to people; JSON has them all.
DIGESTS_SHOWN = 20

app = typer.Typer(
    add_completion=False,
    # As plain as the command line, which shows this help too.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="Directory of the backup.")],
    data_dir: Annotated[Path | None, typer.Option(help="Empty directory; else that of `serve`.")] = None,
    database: Annotated[
        str | None, typer.Option(help="URL of an empty PostgreSQL database instead of SQLite.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read everything anew once it is written, before it counts.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the backup and compare it; restore nothing.")
    ] = False,
    allow_damage: Annotated[
        bool, typer.Option("--allow-damage", help="Go on without blobs that are damaged in the backup.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Bring a backup back into an empty data directory, while no server runs there.

    The whole registry is there at the end, with the digest of the backup, or nothing is. The history goes on
    in a new epoch: cursors and page tokens from before are refused. Exit code 8 says that the backup is
    damaged, or lacks bytes that were damaged or missing when it was made.
    """
    flags = {"data_dir": data_dir, "database": database}
    try:
        config, _ = settings.load(flags, environment=settings.environment())
    except ConfigError as error:
        _fail(str(error), code=EXIT_USAGE)
    if check:
        facts = _run(lambda: _checked(source))
    else:
        options = {"data_dir": config.data_dir, "database": config.database}
        options |= {"verify": verify, "allow_damage": allow_damage}
        facts = _run(lambda: _restored(source, reason=reason, **options))
    missing = facts["missing"]
    if as_json:
        _say(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            if name != "missing":
                _say(f"{name}\t{value}")
    if missing:
        shown = "\n  ".join(missing[:DIGESTS_SHOWN])
        _fail(f"The bytes of {len(missing)} blobs are damaged or missing:\n  {shown}", code=EXIT_DAMAGED)


def main() -> None:
    """Run the command line."""
    app(prog_name="steelyard restore")


def _restored(source: Path, *, reason: str, **options: Any) -> dict[str, Any]:
    from steelyard_server.backups import restore as restoring
    from steelyard_server.history.act import Act
    from steelyard_server.history.caller import Caller

    act = Act(Caller("steelyard", kind="service", method="restore"), reason=reason)
    done = restoring.restore(source, restoring.Options(**options), act, report=_reporter())
    facts = _facts(done.inventory, blobs=done.blobs, missing=done.missing)
    return {"restored": str(options["data_dir"]), **facts, "epoch": done.epoch, "event": done.sequence}


def _checked(source: Path) -> dict[str, Any]:
    from steelyard_server.backups import check

    found = check.check(source, report=_reporter())
    absent = {problem.digest for problem in found.inventory.problems}
    missing = tuple(sorted(absent.union(found.damaged)))
    return {"checked": str(source), **_facts(found.inventory, blobs=found.blobs, missing=missing)}


def _facts(found: Inventory, *, blobs: int, missing: tuple[str, ...]) -> dict[str, Any]:
    kept = ("registry", "sequence", "time", "registry_digest")
    facts = {name: value for name, value in asdict(found).items() if name in kept}
    rows = sum(table.rows for table in found.tables)
    return {**facts, "rows": rows, "blobs": blobs, "missing": list(missing)}


def _run(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do the work, and say what is wrong in the words of the command line."""
    from steelyard_server.backups.inventory import BackupDamaged, NotABackup
    from steelyard_server.backups.target import TargetNotEmpty
    from steelyard_server.db.build import DatabaseNotEmpty
    from steelyard_server.directory import DirectoryInUse
    from steelyard_server.errors import DataLoss, RegistryError

    try:
        return work()
    except (BackupDamaged, DataLoss) as error:
        _fail(str(error), code=EXIT_DAMAGED)
    except (NotABackup, TargetNotEmpty, DatabaseNotEmpty, DirectoryInUse, RegistryError) as error:
        _fail(str(error), code=EXIT_REFUSED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}.", code=EXIT_REFUSED)


def _reporter() -> Callable[[str, int, int], None]:
    """Return what shows progress on a terminal, in one line that is written anew."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return lambda _phase, _done, _total: None

    def report(phase: str, done: int, total: int) -> None:
        percent = 100 * done // total if total else 100
        end = "\n" if done >= total else ""
        print(f"\r{phase:8}{percent:4} %", end=end, file=sys.stderr, flush=True)

    return report


def _say(text: str) -> None:
    print(text, flush=True)


def _fail(message: str, *, code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
