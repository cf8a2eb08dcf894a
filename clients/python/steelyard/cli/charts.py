"""Small line charts as SVG that stands in a page: one metric over the versions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement

from steelyard.cli import output

WIDTH, HEIGHT = 320.0, 150.0
RIGHT, TOP, BOTTOM = 14.0, 12.0, 26.0
# Between a label at the left and the lines, and the most that a character of it takes.
GAP, CHARACTER_WIDTH = 6.0, 7.0
TICK_DIGITS = 4
NAMES_SHOWN_MAXIMUM = 8
RADIUS, BEST_RADIUS = 3.2, 5.2


def line_chart(
    values: Sequence[float | None], *, names: Sequence[str], best: Sequence[bool]
) -> Element | None:
    """Draw numbers over versions, with a gap where one has none; None when there are no two numbers.

    Args:
        names: of the versions; each point tells its own when it is pointed at.
        best: which points stand out.
    """
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    if len(numbers) < 2:  # noqa: PLR2004  a line has two ends
        return None
    least, most = min(numbers), max(numbers)
    chart = Element("svg", {"viewBox": f"0 0 {WIDTH:g} {HEIGHT:g}", "role": "img", "class": "chart"})
    height = _scale(least, most)
    ticks = list(dict.fromkeys((least, least / 2 + most / 2, most)))
    labels = output.numbers(ticks, digits=TICK_DIGITS)
    left = GAP + CHARACTER_WIDTH * max(map(len, labels))
    for tick, label in zip(ticks, labels, strict=True):
        _draw_tick(chart, label, left=left, y=height(tick))
    points = [
        (_across(place, count=len(values), left=left), height(value))
        if value is not None and math.isfinite(value)
        else None
        for place, value in enumerate(values)
    ]
    for line in _lines(points):
        SubElement(
            chart, "polyline", {"points": " ".join(f"{x:.1f},{y:.1f}" for x, y in line), "class": "line"}
        )
    for place, point in enumerate(points):
        if point is not None:
            _draw_point(chart, point, text=f"{names[place]}: {values[place]!r}", best=best[place])
    _draw_names(chart, names, left=left)
    return chart


def _scale(least: float, most: float) -> Callable[[float], float]:
    """Return what turns a number into a height, the largest on top; one number alone lies in the middle."""
    room = HEIGHT - TOP - BOTTOM
    # Halves, for the difference of two large numbers may be infinite.
    span = most / 2 - least / 2

    def height(value: float) -> float:
        share = (value / 2 - least / 2) / span if span else 0.5
        return TOP + room * (1 - share)

    return height


def _across(place: int, *, count: int, left: float) -> float:
    return left + 8 + (WIDTH - left - RIGHT - 16) * place / max(count - 1, 1)


def _lines(points: Sequence[tuple[float, float] | None]) -> Iterator[list[tuple[float, float]]]:
    """Yield runs of at least two points that follow each other."""
    run: list[tuple[float, float]] = []
    for point in (*points, None):
        if point is not None:
            run.append(point)
            continue
        if len(run) > 1:
            yield run
        run = []


def _draw_tick(chart: Element, text: str, *, left: float, y: float) -> None:
    place = {"x1": f"{left:g}", "x2": f"{WIDTH - RIGHT:g}", "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
    SubElement(chart, "line", {**place, "class": "grid"})
    label = SubElement(chart, "text", {"x": f"{left - GAP:g}", "y": f"{y + 3.5:.1f}", "class": "tick left"})
    label.text = text


def _draw_point(chart: Element, point: tuple[float, float], *, text: str, best: bool) -> None:
    x, y = (f"{each:.1f}" for each in point)
    if best:
        SubElement(chart, "circle", {"cx": x, "cy": y, "r": f"{BEST_RADIUS}", "class": "halo"})
    dot = SubElement(
        chart, "circle", {"cx": x, "cy": y, "r": f"{RADIUS}", "class": "dot best" if best else "dot"}
    )
    SubElement(dot, "title").text = text


def _draw_names(chart: Element, names: Sequence[str], *, left: float) -> None:
    step = math.ceil(len(names) / NAMES_SHOWN_MAXIMUM)
    for place in range(0, len(names), step):
        x = f"{_across(place, count=len(names), left=left):.1f}"
        label = SubElement(chart, "text", {"x": x, "y": f"{HEIGHT - 8:g}", "class": "tick"})
        # The number, which follows the name of the model, tells more than the name.
        label.text = names[place] if len(names[place]) <= 6 else f":{names[place].rpartition(':')[2]}"  # noqa: PLR2004
