"""``pull``, ``files``, ``cat`` and ``verify``: moving bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli import interrupts, output, progress, session

Ref = Annotated[str, typer.Argument(help="fraud:3, fraud:1.4.0, fraud@champion, fraud@sha256:… or fraud.")]

# Files that are named one by one.
OTHERS_NAMED = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this file to *app*."""
    for command in (pull, files, cat, verify):
        app.command(command.__name__)(command)


def pull(
    context: typer.Context,
    ref: Ref,
    dest: Annotated[Path, typer.Argument(help="New directory to put the files in.")],
    include: Annotated[
        list[str] | None, typer.Option(help="Only files that match this pattern; repeat it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    json: output.Json = False,
) -> None:
    """Download a version into a directory.

    Every byte is verified, and the directory appears whole or not at all.
    """
    quiet = session.of(context).quiet
    kept = interrupts.noted(interrupts.KEPT)
    with kept, session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        pulled = client.pull(ref, dest, include=include or (), overwrite=overwrite, progress=show)
    for name in pulled.skipped_references:
        output.note(f"skipped {name}: it stays at its own address.")
    version = pulled.version
    files_there = output.count(len(pulled.files), "file")
    output.note(f"{version.model}:{version.number} is in {dest}: {files_there}, all verified.")
    if json:
        output.message_json(version.message)
    else:
        output.result(str(dest))


def files(context: typer.Context, ref: Ref, json: output.Json = False) -> None:
    """List the files of a version."""
    with session.of(context).client() as client:
        found = list(client.versions.files(ref))
    if json:
        output.messages_json(each.message for each in found)
        return
    rows = [
        (each.path, output.size(each.size_bytes), each.role, each.uri or output.short(each.digest))
        for each in found
    ]
    output.table(("path", "size", "role", "digest"), rows)


def cat(
    context: typer.Context, ref: Ref, path: Annotated[str, typer.Argument(help="File to print.")]
) -> None:
    """Write one file to standard output."""
    with session.of(context).client() as client, client.open(ref, path) as stream:
        for chunk in stream:
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def verify(
    context: typer.Context,
    ref: Ref,
    directory: Annotated[
        Path | None, typer.Argument(help="Directory to compare; none reads the server.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Compare all bytes with their digests.

    Those of a directory, or without one those that the server has.
    """
    quiet = session.of(context).quiet
    with session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        verified = client.verify(ref, directory, progress=show)
    for file in verified.left_out:
        output.note(f"left out {file.path}, which the push recorded and the directory does not have.")
    version = verified.version
    for path in verified.others[:OTHERS_NAMED]:
        output.note(f"{path} is in the directory and is not of {version.model}:{version.number}.")
    if more := verified.others[OTHERS_NAMED:]:
        output.note(f"So are {output.count(len(more), 'more file')}.")
    files_read = output.count(len(verified.files), "file")
    text = f"{version.model}:{version.number} is intact: {files_read} as the digests say."
    output.changed(text, version.message, json=json)
