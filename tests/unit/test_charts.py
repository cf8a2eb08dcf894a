"""Sparks and charts draw any numbers: those that are none leave a gap, and huge ones do not overflow."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.cli import charts, output
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
    if max(numbers) / 2 - min(numbers) / 2 > 0:
        assert line[values.index(max(numbers))] == SPARKS[-1]
        assert line[values.index(min(numbers))] == SPARKS[0]


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([0.0, 1.0], "▁█"),
        ([1.0, 0.5, 0.0], "█▅▁"),
        ([2.0, 2.0], "▅▅"),
        ([0.0, 5e-324], "▅▅"),
        ([-1.7e308, 0.0, 1.7e308], "▁▅█"),
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
    left = max(float(line.attrib["x1"]) for line in found.iter("line"))
    for dot in dots:
        assert left <= float(dot.attrib["cx"]) <= charts.WIDTH - charts.RIGHT
        assert charts.TOP <= float(dot.attrib["cy"]) <= charts.HEIGHT - charts.BOTTOM


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.5, 0.25], ["0.25", "0.375", "0.5"]),
        ([-1.23456e-7, -9.87654e107], ["-9.877e+107", "-4.938e+107", "-1.235e-07"]),
        ([1e12, 1e12 + 8], ["1000000000000", "1000000000004", "1000000000008"]),
        ([2.0, 2.0], ["2"]),
    ],
)
def test_labels_of_an_axis_differ_and_are_not_cut(values: list[float | None], labels: list[str]) -> None:
    found = chart(values)
    assert found is not None
    ticks = [each for each in found.iter("text") if each.attrib["class"] == "tick left"]
    assert [each.text for each in ticks] == labels
    # A digit of a common font is 0.62 of its height wide.
    for each in ticks:
        assert float(each.attrib["x"]) >= len(each.text or "") * 0.62 * 11


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ([0.5, 1 / 3], ["0.5", "0.333333"]),
        ([1e12, 1e12 + 1, -1.5], ["1000000000000", "1000000000001", "-1.5"]),
        ([math.nan, math.inf, 2.0], ["nan", "inf", "2"]),
        ([0.1 + 0.2, 0.3, 0.3], ["0.30000000000000004", "0.3", "0.3"]),
        ([0.0, -0.0], ["0", "-0"]),
        ([], []),
    ],
)
def test_numbers_have_the_digits_that_tell_them_apart(given: list[float], written: list[str]) -> None:
    assert output.numbers(given) == written


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
