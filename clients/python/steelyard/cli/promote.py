"""``promote``: propose to move a version to a stage or an alias, and wait for what becomes of it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steelyard.cli import decisions, interrupts, output, progress, session, values

if TYPE_CHECKING:
    from steelyard import Client
    from steelyard.promotions import Promotion

EXIT_PENDING = 4
WAIT = "30m"
TARGET_KINDS = ("stage", "alias")

Ref = Annotated[str, typer.Argument(help="fraud:3, fraud:1.4.0, fraud@champion or fraud@sha256:….")]
To = Annotated[str, typer.Option("--to", help="A stage, as production, or an alias, as @champion.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]


def register(app: typer.Typer) -> None:
    """Add the command, which is in no group."""
    app.command("promote")(promote)


def promote(
    context: typer.Context,
    ref: Ref,
    to: To,
    archive_former: Annotated[
        bool, typer.Option("--archive-former", help="What is in the stage goes to archived with it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is decided.")] = False,
    timeout: Annotated[
        str | None, typer.Option(help=f"How long to wait, as 30m or 12h. Default: {WAIT}.")
    ] = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Propose to move a version to a stage or an alias.

    It moves at once when nothing stands in the way. The checks of all policies of the target run at once.
    Exit code 3 says that it was refused, 4 that it is open still when the time to wait is over. With --wait
    the same command follows what it proposed.
    """
    where = target(to)
    seconds = _seconds(timeout, wait=wait, dry_run=dry_run)
    with session.of(context).client() as client:
        made = _proposed(
            client,
            ref,
            where,
            following=wait,
            archive_incumbent=archive_former,
            validate_only=dry_run,
            reason=reason,
        )
        if wait and made.state == "open":
            made = _followed(client, made, seconds=seconds, quiet=session.of(context).quiet)
    decisions.show(made, json=json, rehearsed=dry_run)
    if wait and made.state == "open":
        output.note(f"The time to wait is over; steelyard promotions show {made} says how it stands.")
        raise typer.Exit(EXIT_PENDING)


def target(text: str) -> dict[str, Any]:
    """Read what ``--to`` takes as arguments of `Promotions.create`.

    Raises:
        typer.BadParameter: it is no stage and no alias.
    """
    kind, colon, name = ("alias", "@", text[1:]) if text.startswith("@") else text.partition(":")
    if not colon:
        kind, name = "stage", text
    if kind not in TARGET_KINDS or not name:
        message = f"{text!r} is no target; write a stage, as production, or an alias, as @champion."
        raise typer.BadParameter(message, param_hint="--to")
    return {kind: name}


def _seconds(timeout: str | None, *, wait: bool, dry_run: bool) -> int:
    if timeout is not None and not wait:
        raise typer.BadParameter("it bounds what --wait waits; give --wait too.", param_hint="--timeout")
    if wait and dry_run:
        raise typer.BadParameter("a rehearsal proposes nothing to wait for.", param_hint="--wait")
    return values.seconds(WAIT if timeout is None else timeout, option="--timeout")


def _proposed(
    client: Client,
    ref: str,
    where: dict[str, Any],
    *,
    following: bool,
    archive_incumbent: bool,
    validate_only: bool,
    reason: str,
) -> Promotion:
    """Propose it; when that was done before and is to be followed, return what is open."""
    from steelyard.reasons import PromotionOpen

    try:
        return client.promotions.create(
            ref,
            **where,
            archive_incumbent=archive_incumbent,
            validate_only=validate_only,
            reason=reason,
        )
    except PromotionOpen as error:
        if not following:
            raise
        open_now = client.promotions.get(error.metadata["scope"], int(error.metadata["number"]))
        output.note(f"{open_now} proposes this already.")
        return open_now


def _followed(client: Client, made: Promotion, *, seconds: int, quiet: bool) -> Promotion:
    """Wait until a promotion is open no more; return how it then stands, or stood last."""
    from steelyard.errors import DeadlineExceeded

    stays = f"{made} stays open; the same command follows it again, steelyard promotions cancel ends it."
    with interrupts.noted(stays), progress.waiting(quiet=quiet) as show:
        latest = made
        with suppress(DeadlineExceeded):
            for latest in client.promotions.watch(made.scope, made.number, timeout_seconds=seconds):
                if latest.state == "open":
                    show(decisions.sentence(latest))
    return latest
