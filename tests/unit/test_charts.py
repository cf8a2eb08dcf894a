"""Sparks and charts draw any numbers: those that are none leave a gap, and huge ones do not overflow."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.cli import charts
from steelyard.cli.comparison_table import SPARKS, sparks

VALUES = st.lists(st.none() | st.floats(), min_size=2, max_size=20)


def chart(values: list[float | None]) -> Element | None:
    names = [f":{number}" for number in range(1, len(values) + 1)]
    return charts.line_chart(values, names=names, best=[value == 1 for value in values])


def drawn(values: list[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


@given(VALUES)
def test_sparks_have_a_place_for_each_number_and_the_extremes_at_the_ends(values: list[float | None]) -> None:
    line, numbers = sparks(values), drawn(values)
    if len(numbers) < 2:
        assert line == ""
        return
    assert len(line) == len(values)
    assert [spark == " " for spark in line] == [value not in numbers for value in values]
    if math.isfinite(max(numbers) - min(numbers)) and max(numbers) / 2 - min(numbers) / 2 > 0:
        assert line[values.index(max(numbers))] == SPARKS[-1]
        assert line[values.index(min(numbers))] == SPARKS[0]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([0.0, 1.0], "▁█"),
        ([1.0, 0.5, 0.0], "█▅▁"),
        ([2.0, 2.0], "▅▅"),
        ([0.0, None, math.nan, 7.0], "▁  █"),
        ([1.0], ""),
        ([None, 1.0, math.inf], ""),
    ],
)
def test_sparks_are_drawn(values: list[float | None], line: str) -> None:
    assert sparks(values) == line


@given(VALUES)
def test_a_chart_has_a_point_for_each_number_inside_its_frame(values: list[float | None]) -> None:
    found, numbers = chart(values), drawn(values)
    if len(numbers) < 2:
        assert found is None
        return
    assert found is not None
    dots = [each for each in found.iter("circle") if each.find("title") is not None]
    assert len(dots) == len(numbers)
    for dot in dots:
        assert charts.LEFT <= float(dot.attrib["cx"]) <= charts.WIDTH - charts.RIGHT
        assert charts.TOP <= float(dot.attrib["cy"]) <= charts.HEIGHT - charts.BOTTOM


def test_a_line_is_broken_where_a_version_has_no_number() -> None:
    found = chart([1.0, 2.0, None, 3.0, 4.0, math.nan, 5.0])
    assert found is not None
    assert [len(line.attrib["points"].split()) for line in found.iter("polyline")] == [2, 2]


def test_the_best_point_stands_out_and_a_higher_one_is_higher() -> None:
    found = chart([1.0, 2.0])
    assert found is not None
    low, high = (each for each in found.iter("circle") if each.find("title") is not None)
    assert (low.attrib["class"], high.attrib["class"]) == ("dot best", "dot")
    assert float(high.attrib["cy"]) < float(low.attrib["cy"])
