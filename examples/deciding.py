"""The last part of the main job: logins, a policy, a version that it stops, and one that it lets through."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import training
from story import command, console, require, say, step

import steelyard
from steelyard.errors import Unauthenticated

if TYPE_CHECKING:
    from tending import Registry

PRECISION = "precision@holdout"
# Exit code of the command line.
REFUSED = 3
STORY = [
    ("user:mia", "promotion.create"),
    ("user:grace", "promotion.approve"),
    ("user:ada", "promotion.create"),
    ("user:ada", "promotion.create"),
    ("user:grace", "promotion.approve"),
]
POLICY = """\
namespace: default
name: champions
description: What a version needs before it is the champion.
target: {alias: champion}
checks:
  - name: precision-not-below
    expression: better("precision@holdout", 0.0)
approvals: {count: 1, roles: [approver]}
"""


@dataclass(frozen=True)
class Person:
    """Somebody who logs in with a token of their own."""

    name: str
    token: str
    client: steelyard.Client
    registry: Registry

    def run(self, *words: str, exit_code: int = 0) -> str:
        """Run a command as this person; see `story.command`."""
        environment = self.registry.environment() | {"STEELYARD_TOKEN": self.token}
        shown = " ".join(shlex.quote(word) if " " in word else word for word in words)
        shown = shown.replace(f"{self.registry.directory}/", "")
        return command(*words, shown=shown, environment=environment, who=self.name, exit_code=exit_code)

    def champion(self) -> steelyard.Version:
        """Return the version that the alias points to."""
        return self.client.get(f"{self.registry.model}@champion")


def decide(registry: Registry) -> None:
    """Run the steps on a registry whose model has a champion, each on what the one before left."""
    with ExitStack() as clients:
        step(13, "Start the server again, with logins")
        admin = start_with_logins(registry, clients)
        step(14, "Let a policy protect the champion, which a second person agrees to")
        ada = hire(admin, clients, "ada", "writer", "approver")
        grace = hire(admin, clients, "grace", "approver")
        # Who makes the tokens of others proposes nothing: they could use them.
        protect(hire(admin, clients, "mia", "admin"), grace)
        step(15, "Propose a version that is worse: does it go through?")
        propose_worse(ada)
        step(16, "Propose a better one: does it go through, and by whom?")
        propose_better(ada, grace)
        step(17, "Read what happened")
        read_history(admin)


def start_with_logins(registry: Registry, clients: ExitStack) -> Person:
    """Start the server on the same data, see that it wants logins, and log in with its first token."""
    registry.server.stop()
    registry.server.auth = "tokens"
    registry.server.start()
    token = registry.server.first_token()
    say("It printed a token of user:admin, once.")
    try:
        registry.client.get(registry.model)
    except Unauthenticated as error:
        say(f"Without a token: {error}")
    else:
        require("it answers nobody without a token", holds=False)
    return _log_in(registry, "admin", token, clients)


def hire(admin: Person, clients: ExitStack, name: str, *roles: str) -> Person:
    """Give somebody roles in the namespace of the model, and a token."""
    for role in roles:
        admin.run("grants", "add", f"user:{name}", role, "--on", "default")
    token = admin.client.access.create_token(f"user:{name}", reason="demo").secret
    return _log_in(admin.registry, name, token, clients)


def _log_in(registry: Registry, name: str, token: str, clients: ExitStack) -> Person:
    client = steelyard.Client(registry.server.address, token=token, cache_dir=registry.directory / "cache")
    return Person(name, token, clients.enter_context(client), registry)


def protect(mia: Person, grace: Person) -> None:
    """Set a policy, which begins to hold when a second person has approved it."""
    file = mia.registry.directory / "policy.yaml"
    file.write_text(POLICY)
    console.print("   policy.yaml:")
    console.print("".join(f"     {line}\n" for line in POLICY.splitlines()), end="", markup=False)
    mia.run("policy", "set", "-f", str(file), "--reason", "only what is not less precise")
    require("one person alone sets no policy", holds=not mia.client.policies.list("default"))
    grace.run("approve", "default#1", "--reason", "as agreed in the risk board")
    require("two persons do", holds=len(mia.client.policies.list("default")) == 1)


def propose_worse(ada: Person) -> None:
    """Propose a version with a lower precision, and see that it goes nowhere."""
    before, worse = ada.champion(), push(ada, "decision-stump")
    require("it is worse", holds=worse.metrics[PRECISION] < before.metrics[PRECISION])
    ada.run("promote", str(worse), "--to", "@champion", "--reason", "it is small", exit_code=REFUSED)
    require("the champion is the same", holds=ada.champion().number == before.number)
    say(f"{before} stays the champion.")


def propose_better(ada: Person, grace: Person) -> None:
    """Propose a version with a higher precision; its author cannot approve it, and another person does."""
    before, better = ada.champion(), push(ada, "careful-regression")
    require("it is better", holds=better.metrics[PRECISION] >= before.metrics[PRECISION])
    ada.run("promote", str(better), "--to", "@champion", "--reason", "fewer false alarms")
    require("it waits", holds=ada.champion().number == before.number)
    (waiting,) = ada.client.promotions.list(better.model, open_only=True)
    ada.run("approve", str(waiting), exit_code=REFUSED)
    grace.run("approve", str(waiting), "--reason", "as good as it says")
    require("it is the champion", holds=ada.champion().number == better.number)
    say(f"{better} is the champion.")


def push(ada: Person, name: str) -> steelyard.Version:
    """Train one of the later classifiers, push it, and say how precise it is."""
    data = training.load()
    trained = training.train(name, training.successors()[name], data, ada.registry.directory / name)
    dataset = steelyard.Dataset("holdout", role="holdout", digest=data.digest, version="scikit-learn")
    pushed = ada.client.push(
        ada.registry.model,
        trained.directory,
        metrics=trained.metrics,
        parameters=trained.parameters,
        datasets=[dataset],
        labels={"algorithm": name},
    )
    say(f"ada pushed {pushed.version}, {name}: {PRECISION} is {trained.metrics[PRECISION]:.4f}")
    return pushed.version


def read_history(admin: Person) -> None:
    """Show what was decided, and see that the history says who did what."""
    told = admin.run("log", "default", "--filter", 'action = "promotion.*"')
    rows = [line.split("\t") for line in told.splitlines()]
    for _, _, actor, action, resource, reason in rows:
        say(f"{actor:<10}  {action:<17}  {resource.partition(' ')[0]:<27}  {reason}")
    found = [(row[2], row[3]) for row in rows]
    require("it says who did what", holds=found == STORY)
