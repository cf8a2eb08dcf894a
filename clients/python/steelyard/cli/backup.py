"""``backup``: have the server copy the whole registry to a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import interrupts, maintenance, output, progress, session

if TYPE_CHECKING:
    from collections.abc import Callable

    from steelyard import Backup
    from steelyard.progress import OnProgress


def register(app: typer.Typer) -> None:
    """Add the commands of this file to *app*."""
    app.command("backup")(backup)


def backup(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="Directory to make in the server's --backup-dir; else it is named by time.")
    ] = "",
    json: output.Json = False,
) -> None:
    """Copy the whole registry to a new directory.

    The server does it below its --backup-dir, while it serves. `steelyard restore` brings it back. Exit
    code 8 says that the backup is complete but for bytes that are damaged or missing on the server.
    """
    from steelyard.errors import DataLoss

    quiet = session.of(context).quiet
    followed = interrupts.noted(interrupts.FOLLOWED)
    with followed, session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        made = client.maintenance.backup(name, progress=_drawn(show))
    if json:
        output.message_json(made.message)
    else:
        _show(made)
    if made.problems_count:
        blobs = output.count(made.problems_count, "blob")
        raise DataLoss(
            f"The backup is complete but for {blobs} whose stored bytes are damaged or missing. Upload them "
            "again, then make another backup."
        )


def _show(made: Backup) -> None:
    output.details(
        {
            "backup": made.name,
            "events": made.sequence,
            "digest": made.registry_digest,
            "rows": made.rows_count,
            "blobs": made.blobs_count,
            "size": output.size(made.blob_bytes),
        }
    )
    maintenance.show_problems(made.problems)


def _drawn(show: OnProgress | None) -> Callable[[Backup], None] | None:
    from steelyard.progress import Progress

    if show is None:
        return None

    def draw(made: Backup) -> None:
        phase = "blobs" if made.total_blobs_count else f"{made.rows_count:,} rows"
        show(Progress(phase, "", made.blob_bytes, made.total_blob_bytes))

    return draw
