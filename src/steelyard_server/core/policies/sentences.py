"""What a finding says to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steelyard_server.core.policies.findings import Measured, Observation
    from steelyard_server.core.policies.run import Run

CHARACTERS = 2000
DIGEST_CHARACTERS = len("sha256:") + 12
NO_INCUMBENT = (
    "There is no incumbent, and the check depends on one. If the first version may pass it, "
    "add `without_incumbent: pass` to the check."
)
PASSED_WITHOUT_INCUMBENT = "There is no incumbent; the check says `without_incumbent: pass`."


def outcome(run: Run, *, passed: bool) -> str:
    """Say that a check is true or false, with the numbers and facts that it looked at."""
    seen = [*map(observation, run.observations), *run.notes]
    text = "; ".join(seen) if seen else f"The expression is {'true' if passed else 'false'}"
    return failure(text)


def failure(text: str) -> str:
    """Make one sentence of a bearable length."""
    shown = text if len(text) < CHARACTERS else f"{text[: CHARACTERS - 2]}…"
    return f"{shown[:1].upper()}{shown[1:]}." if shown.startswith(("there", "it ", "its ")) else f"{shown}."


def observation(seen: Observation) -> str:
    """Write the numbers of a metric, as `precision@holdout: candidate 0.91, incumbent 0.93, …`."""
    return f"{seen.metric}: {', '.join(_parts(seen))}"


def _parts(seen: Observation) -> Iterator[str]:
    for name, measured in (("candidate", seen.candidate), ("incumbent", seen.incumbent)):
        if measured is not None:
            yield f"{name} {measured.value!r}"
    if seen.margin is not None:
        yield f"at least {seen.margin:+} wanted ({seen.direction or 'no direction'})"
    measured = seen.candidate or seen.incumbent
    if measured is not None and measured.dataset:
        yield _on(measured)


def _on(measured: Measured) -> str:
    digest = measured.dataset_digest
    return f"on {measured.dataset} {short(digest)}" if digest else f"on {measured.dataset}"


def short(digest: str) -> str:
    """Write so much of a digest that people tell it from others."""
    return f"{digest[:DIGEST_CHARACTERS]}…"
