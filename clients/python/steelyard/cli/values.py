"""What people type for metrics, parameters, labels, datasets and parents, as values."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from steelyard.cli import output

EXIT_DECLINED = 3
_INTEGER = re.compile(r"[+-]?[0-9]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_INT64 = range(-(2**63), 2**63)
_INTEGER_CHARACTERS = 64
_MEASURE = re.compile(r"(?P<number>[0-9]{1,12}) ?(?P<unit>[A-Za-z]*)")
_TIME_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DECIMAL_UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE_UNITS = {"": 1, "B": 1} | _DECIMAL_UNITS | _BINARY_UNITS


def pairs(texts: list[str], *, option: str) -> dict[str, str]:
    """Read ``name=value`` texts.

    Raises:
        typer.BadParameter: one has no ``=`` or no name, or a name comes twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = _split(text)
        if not equals or not name:
            raise typer.BadParameter(f"{text!r} is not name=value.", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice.", param_hint=option)
        found[name] = value
    return found


def metrics(texts: list[str]) -> dict[str, float]:
    """Read ``-m precision@holdout=0.93``; the value may be NaN or inf."""
    found: dict[str, float] = {}
    for name, value in pairs(texts, option="-m").items():
        try:
            found[name] = _number(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not a number, for {name}.", param_hint="-m") from None
    return found


def parameters(texts: list[str]) -> dict[str, str | int | float | bool]:
    """Read ``-p depth=4``: a whole number, a number, true or false, else text; quotes keep text."""
    return {name: _typed(value) for name, value in pairs(texts, option="-p").items()}


def is_text(value: str) -> bool:
    """Return whether ``-p name=value`` means *value* as it stands, and no number, truth or quoted text."""
    try:
        return _typed(value) == value
    except typer.BadParameter:
        return False


def datasets(texts: list[str]) -> list[tuple[str, str]]:
    """Read ``--dataset train=PATH|URI`` as role and location."""
    return [(name, value) for name, value in pairs(texts, option="--dataset").items()]


def parents(texts: list[str]) -> list[tuple[str, str]]:
    """Read ``--parent REF:relation`` as reference and relation."""
    found = []
    for text in texts:
        reference, colon, relation = text.rpartition(":")
        if not colon or not reference:
            message = f"{text!r} is not REF:relation, for example risk/fraud:3:fine-tuned-from."
            raise typer.BadParameter(message, param_hint="--parent")
        found.append((reference, relation))
    return found


def is_path(text: str) -> bool:
    """Return whether *text* names something on this machine, be it there or not, rather than a URI."""
    return _URI.match(text) is None or Path(text).exists()


def _split(text: str) -> tuple[str, str, str]:
    """Split at the first ``=`` outside brackets, for ``precision@holdout[region=EU]=0.9``."""
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "[") - (character == "]")
        if character == "=" and depth <= 0:
            return text[:position], "=", text[position + 1 :]
    return text, "", ""


def _typed(value: str) -> str | int | float | bool:
    if len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    if value in {"true", "false"}:
        return value == "true"
    if _INTEGER.fullmatch(value):
        return _integer(value)
    try:
        return _number(value)
    except ValueError:
        return value


def _integer(text: str) -> int:
    if len(text) > _INTEGER_CHARACTERS or int(text) not in _INT64:
        message = (
            f"{text} has more than 64 bits; put it in quotes, like 'seed=\"{text}\"', to keep it as text."
        )
        raise typer.BadParameter(message, param_hint="-p")
    return int(text)


def _number(text: str) -> float:
    """Read a number as people write one; Python would read 1_000 too."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


def directions(texts: list[str]) -> dict[str, str]:
    """Read ``--direction precision=higher``."""
    found = {}
    for name, value in pairs(texts, option="--direction").items():
        if value not in {"higher", "lower"}:
            message = f"{value!r} is no direction; write {name}=higher or {name}=lower."
            raise typer.BadParameter(message, param_hint="--direction")
        found[name] = f"{value}-is-better"
    return found


def seconds(text: str, *, option: str) -> int:
    """Read ``90s``, ``30m``, ``12h``, ``7d``, or ``0``.

    A bare number has no unit to know: five seconds of grace for five days would cost bytes.

    Raises:
        typer.BadParameter: it is written otherwise.
    """
    units = {"": 0} | _TIME_UNITS if text.strip() == "0" else _TIME_UNITS
    return _measured(text, units=units, option=option, example="90s, 30m, 12h or 7d")


def size_bytes(text: str, *, option: str) -> int:
    """Read ``512KiB``, ``50MiB``, ``2GB``, or a whole number of bytes.

    Raises:
        typer.BadParameter: it is written otherwise.
    """
    return _measured(text, units=_SIZE_UNITS, option=option, example="512KiB, 50MiB or 2GB")


def exact_size(size_bytes: int) -> str:
    """Write a size as `size_bytes` reads it, with the fewest digits that keep every byte."""
    whole = [(size_bytes // each, unit) for unit, each in _SIZE_UNITS.items() if size_bytes % each == 0]
    number, unit = min(whole)
    return f"{number} {unit or 'B'}"


def _measured(text: str, *, units: Mapping[str, int], option: str, example: str) -> int:
    found = _MEASURE.fullmatch(text.strip())
    if found is None or found["unit"] not in units:
        raise typer.BadParameter(f"{text!r} is not like {example}.", param_hint=option)
    return int(found["number"]) * units[found["unit"]]


def require_change(**options: object) -> None:
    """Refuse an edit for which no option was given.

    Raises:
        typer.BadParameter: all are None.
    """
    if all(value is None for value in options.values()):
        names = ", ".join(f"--{name}" for name in options)
        raise typer.BadParameter(f"nothing to change; give one of {names}.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is gone for good, unless *yes* was said already.

    Raises:
        typer.BadParameter: there is no terminal to ask on.
        typer.Exit: the answer is no, or none came.
        KeyboardInterrupt: Ctrl-C.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask on; say --yes to go on.", param_hint="--yes")
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as ended:
        # Typer makes one of Ctrl-C and of the end of the input.
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise ended.__context__ from None
        agreed = False
    if not agreed:
        output.note("Nothing was purged.")
        raise typer.Exit(EXIT_DECLINED)


def merged(before: Mapping[str, str], texts: list[str] | None) -> dict[str, str] | None:
    """Set labels over those of *before*, and remove those without a value; None for no change."""
    if texts is None:
        return None
    new = pairs(texts, option="--label")
    return {name: value for name, value in {**before, **new}.items() if value or name not in new}
