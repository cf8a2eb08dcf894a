"""A group of commands: what it says of a word that is none of them, and how it ends when it is stopped."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from steelyard.cli import interrupts

EXIT_OUTPUT_CLOSED = 141
# What people of other tools type, of which no commands of ours remind.
OTHER_WORDS = {
    "delete": "rm",
    "remove": "rm",
    "list": "ls",
    "get": "show",
    "describe": "show",
    "update": "edit",
    "undelete": "restore",
    "add": "create",
}


class Commands(TyperGroup):
    """The root, or a group below it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command; one that is called otherwise here is named."""
        meant = OTHER_WORDS.get(args[0], "")
        if args[0] not in self.commands and meant in self.commands:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {meant!r}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            typer.Exit: it was interrupted, or nobody reads its output any more.
        """
        try:
            with interrupts.noted():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(EXIT_OUTPUT_CLOSED) from None
        except typer.TyperException as error:
            self._say_where_it_belongs(error)
            raise

    def _say_where_it_belongs(self, error: Any) -> None:
        """Add to an option that a command does not know that this group does."""
        name = getattr(error, "option_name", "")
        # Other errors of options have names too, but know of no others that may be meant.
        if hasattr(error, "possibilities") and any(name in each.opts for each in self.params):
            error.message += f". Write it before the command: {error.ctx.find_root().info_name} {name} …"
            error.possibilities = None
