"""``compare``: versions side by side, in the terminal and as a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli import output, session


def register(app: typer.Typer) -> None:
    """Add the command of this file to *app*."""
    app.command("compare")(compare)


def compare(
    context: typer.Context,
    refs: Annotated[
        list[str], typer.Argument(metavar="REF REF...", help="2 to 20 versions; the first is the baseline.")
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option("-m", "--metric", help="Only this one, as precision@holdout; repeat it."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file too.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it exists.")] = False,
    json: output.Json = False,
) -> None:
    """Show what differs between versions.

    Their metrics, newest evaluations, parameters, files, datasets, inputs and outputs, and ancestors. The
    best value of a metric is marked when the model says which direction is better.
    """
    if html is not None:
        _require_writable(html, overwrite=overwrite)
    with session.of(context).client() as client:
        found = client.compare(refs, metrics=metric or ())
    if metric and not found.metrics:
        output.note(f"none of these versions has {', '.join(metric)}.")
    from steelyard.cli import comparison, comparison_page, comparison_table

    sections = comparison.sections(found)
    if html is not None:
        _write(html, comparison_page.render(found.names, sections), overwrite=overwrite)
        output.note(f"the page is {html}.")
    if json:
        output.message_json(found.message)
    else:
        comparison_table.show(found.names, sections)


def _require_writable(path: Path, *, overwrite: bool) -> None:
    """Refuse what cannot be written before anything is asked.

    Raises:
        DestinationExists: there is something, and *overwrite* is not set or it is a directory.
        LocalFileError: its directory does not exist.
    """
    from steelyard.errors import DestinationExists, LocalFileError

    if path.is_dir() or (path.exists() and not overwrite):
        how = "name a file" if path.is_dir() else "name another, or add --overwrite"
        raise DestinationExists(f"{path} exists; {how}.")
    if not path.parent.is_dir():
        raise LocalFileError(f"There is no directory {path.parent}; make it first.")


def _write(path: Path, text: str, *, overwrite: bool) -> None:
    """Write a file that appears whole.

    Raises:
        DestinationExists: it has come into being meanwhile.
    """
    from steelyard.errors import DestinationExists

    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        if overwrite:
            beside.replace(path)
        else:
            _put_new(beside, path)
    except FileExistsError:
        raise DestinationExists(f"{path} exists now; name another, or add --overwrite.") from None
    finally:
        beside.unlink(missing_ok=True)


def _put_new(beside: Path, path: Path) -> None:
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        raise
    except OSError:
        # Not every file system has links: there the name is taken first.
        path.touch(exist_ok=False)
        beside.replace(path)
