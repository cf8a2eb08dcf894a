"""``gc``, ``fsck`` and ``df``: free what nobody needs, verify what is stored, say how much it is."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from steelyard.cli import interrupts, output, progress, session, values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from steelyard import GarbageCollection, StorageProblem, StorageVerification
    from steelyard.maintenance import OwnerUsage
    from steelyard.progress import OnProgress

BAR_MINIMUM, BAR_MAXIMUM = 8, 24
# Of `df` between name and bar, the blanks included.
CELLS_CHARACTERS = 52
VERSIONS_SHOWN = 3


def register(app: typer.Typer) -> None:
    """Add the commands of this file to *app*."""
    for command in (gc, fsck, df):
        app.command(command.__name__)(command)


def gc(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    grace: Annotated[
        str | None, typer.Option(help="Least age of what goes, as 24h; else the setting of the server.")
    ] = None,
    trash: Annotated[
        str | None, typer.Option(help="How long it stays in the trash; 0 frees at once; else as the server.")
    ] = None,
    end_leases: Annotated[
        bool,
        typer.Option(
            "--end-leases", help="Also what was uploaded in the last day; a push under way may be refused."
        ),
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    json: output.Json = False,
) -> None:
    """Free the bytes that nothing needs any more.

    Those are the ones that no version needs and no upload holds; the server goes on serving. Versions
    that the retention of their namespaces keeps no longer are deleted before, and what was deleted long
    enough ago is purged. Bytes go in two steps: first to a trash, from which an upload of the same bytes
    brings them back; later they are gone.
    """
    grace_seconds = None if grace is None else values.seconds(grace, option="--grace")
    trash_seconds = None if trash is None else values.seconds(trash, option="--trash")
    quiet = session.of(context).quiet
    followed = interrupts.noted(interrupts.FOLLOWED)
    with (
        followed,
        session.of(context).client() as client,
        progress.counting_bar("collect", quiet=quiet) as show,
    ):
        collected = client.maintenance.collect_garbage(
            dry_run=dry_run,
            grace_seconds=grace_seconds,
            trash_seconds=trash_seconds,
            end_leases=end_leases,
            reason=reason,
            progress=_shown(show, quiet=quiet),
        )
    if collected.expired and not json:
        _show_expired(collected)
    output.changed(_told(collected, dry_run=dry_run), collected.message, json=json)


def fsck(
    context: typer.Context,
    rate: Annotated[str, typer.Option(help="Most bytes to read a second, as 50MiB; 0 for no limit.")] = "0",
    older_than: Annotated[
        str | None, typer.Option(help="Leave out what was verified in this time, as 7d.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Read every stored byte on the server again.

    Each blob is compared with its digest. Exit code 8 says that bytes are damaged or missing. They are
    not served until they are uploaded again.
    """
    from steelyard.errors import DataLoss

    before = None
    if older_than is not None:
        before = datetime.now(UTC) - timedelta(seconds=values.seconds(older_than, option="--older-than"))
    bytes_per_second = values.size_bytes(rate, option="--rate")
    quiet = session.of(context).quiet
    # The same command later means another moment, which makes it another run.
    goes_on = interrupts.noted(interrupts.FOLLOWED if before is None else interrupts.ON_SERVER)
    with goes_on, session.of(context).client() as client, progress.bar(quiet=quiet) as show:
        found = client.maintenance.verify_storage(
            bytes_per_second=bytes_per_second, verified_before=before, progress=_drawn(show)
        )
    blobs = output.count(found.verified_blobs_count, "blob")
    size = output.size(found.verified_bytes)
    if json:
        output.message_json(found.message)
    else:
        show_problems(found.problems)
        _show_strays(found)
    if found.problems_count:
        raise DataLoss(
            f"{found.problems_count:,} of {blobs} ({size} in all) "
            f"{'is' if found.problems_count == 1 else 'are'} damaged or missing. Such bytes are not served; "
            "upload them again, or restore and verify them."
        )
    if not json:
        output.note(
            f"All is intact: {blobs}, {size}." if found.verified_blobs_count else "There was nothing to read."
        )


def df(
    context: typer.Context,
    namespace: Annotated[str, typer.Argument(help="Show the models of this namespace.")] = "",
    json: output.Json = False,
) -> None:
    """Show how much each namespace uses, or each model of one.

    Bytes that others use too are shared; the unique ones would be free without it.
    """
    if "/" in namespace:
        raise typer.BadParameter(
            "write the namespace alone; all its models are shown.", param_hint="namespace"
        )
    with session.of(context).client() as client:
        found = client.maintenance.storage_usage(namespace)
    if json:
        output.message_json(found.message)
        return
    largest = max((each.size_bytes for each in found.usages), default=0)
    drawn = sys.stdout.isatty()
    characters = _room(found.usages)
    rows = [
        (*_cells(each), *([_bar(each, largest=largest, characters=characters)] if drawn else []))
        for each in found.usages
    ]
    noun = "model" if namespace else "namespace"
    bar = ("█ unique ░ shared",) if drawn else ()
    output.table((noun, "versions", "blobs", "size", "shared", "unique", *bar), rows)
    if len(rows) < found.usages_count:
        output.note(f"These are the {len(rows):,} largest of {found.usages_count:,}.")
    output.note(
        f"{output.count(found.stored_blobs_count, 'blob')} stored, {output.size(found.stored_bytes)}; "
        f"{output.size(found.trash_bytes)} in the trash, {output.size(found.free_bytes)} free."
    )


def show_problems(problems: Sequence[StorageProblem]) -> None:
    """Show what is wrong with stored blobs, and which versions need them."""
    rows = [
        (each.digest, each.kind, output.size(each.size_bytes), _versions(each.versions, each.versions_count))
        for each in problems
    ]
    if rows:
        output.table(("digest", "is", "size", "needed by"), rows)


def _shown(
    show: Callable[[int, int], None] | None, *, quiet: bool
) -> Callable[[GarbageCollection], None] | None:
    if quiet:
        return None
    said = False

    def told(collected: GarbageCollection) -> None:
        nonlocal said
        if collected.waits_for_backup and not said:
            said = True
            output.note("A backup is being made; bytes are moved when it has those that it needs.")
        if show is not None:
            show(collected.examined_blobs_count, collected.blobs_count)

    return told


def _drawn(show: OnProgress | None) -> Callable[[StorageVerification], None] | None:
    from steelyard.progress import Progress

    if show is None:
        return None
    return lambda found: show(Progress("verify", "", found.verified_bytes, found.total_bytes))


def _told(collected: GarbageCollection, *, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    condemned = output.count(collected.condemned_blobs_count, "blob")
    text = _let_go(collected, would=would) + (
        f"{condemned} ({output.size(collected.condemned_bytes)}) {would}moved to the trash, "
        f"{output.size(collected.freed_bytes)} {would}freed."
    )
    if strays := collected.stray_files_count:
        text += f" {output.count(strays, 'file')} belonged to no blob."
    return text


def _show_expired(collected: GarbageCollection) -> None:
    rows = [
        (
            f"{each.model} (purged)" if each.model_purged else each.model,
            _numbers(each.deleted_numbers, count=each.deleted_versions_count),
            _numbers(each.purged_numbers, count=each.purged_versions_count),
        )
        for each in collected.expired
    ]
    output.table(("model", "deleted", "purged"), rows)
    if more := collected.expired_models_count - len(rows):
        output.note(f"And {output.count(more, 'more model')}.")


def _numbers(numbers: Sequence[int], *, count: int) -> str:
    """Write ascending numbers with ranges, and how many of *count* are left out, as `1-3, 7 and 2 more`."""
    spans: list[tuple[int, int]] = []
    for number in numbers:
        if spans and spans[-1][1] == number - 1:
            spans[-1] = (spans[-1][0], number)
        else:
            spans.append((number, number))
    text = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in spans)
    return _and_more(text, count - len(numbers))


def _let_go(collected: GarbageCollection, *, would: str) -> str:
    """Say what the retention of namespaces let go, if it did."""
    parts = [
        (collected.deleted_versions_count, "version", "deleted"),
        (collected.purged_versions_count, "version", "purged"),
        (collected.purged_models_count, "model", "purged"),
    ]
    said = [f"{output.count(number, noun)} {would}{end}" for number, noun, end in parts if number]
    return f"{', '.join(said)} by retention. " if said else ""


def _show_strays(found: StorageVerification) -> None:
    if found.stray_files_count:
        strays = f"{output.count(found.stray_files_count, 'file')} ({output.size(found.stray_bytes)})"
        verb = "belongs" if found.stray_files_count == 1 else "belong"
        output.note(f"{strays} {verb} to no blob; run `steelyard gc` to free that room.")


def _versions(versions: tuple[str, ...], count: int) -> str:
    shown = ", ".join(versions[:VERSIONS_SHOWN])
    return _and_more(shown, count - len(versions[:VERSIONS_SHOWN]))


def _and_more(shown: str, more: int) -> str:
    return f"{shown} and {more:,} more" if more > 0 else shown


def _cells(usage: OwnerUsage) -> tuple[object, ...]:
    return (
        usage.name,
        usage.versions_count,
        usage.blobs_count,
        output.size(usage.size_bytes),
        output.size(usage.size_bytes - usage.unique_bytes),
        output.size(usage.unique_bytes),
    )


def _room(usages: Sequence[OwnerUsage]) -> int:
    """Return how many characters the longest bar takes beside the other columns of the terminal."""
    names = max((len(each.name) for each in usages), default=0)
    return max(BAR_MINIMUM, min(BAR_MAXIMUM, output.columns() - names - CELLS_CHARACTERS))


def _bar(usage: OwnerUsage, *, largest: int, characters: int) -> str:
    """Draw the unique bytes solid and the shared ones light, on the scale of the largest."""
    whole = round(characters * usage.size_bytes / largest) if largest else 0
    unique = round(characters * usage.unique_bytes / largest) if largest else 0
    return "█" * unique + "░" * (whole - unique)
