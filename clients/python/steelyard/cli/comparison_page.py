"""A comparison as one HTML page that needs nothing else: no script, no address, plots as SVG in it.

All text is put in as text of elements, which the library escapes; no markup is made of strings.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, tostring

from steelyard.cli import charts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from steelyard.cli.comparison import Cell, Row, Section

CHARTS_MAXIMUM = 60
# Even if a name got through as markup, a browser would run nothing and ask nobody.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #fff; --ink: #1d2021; --soft: #6a6f73;
  --edge: #e4e4e1; --line: #2f6fb3; --best: #17803d; --best-paper: #e3f4e8; --changed: #8a5a00;
  --changed-paper: #fdf2d8; --added: #17803d; --removed: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181a; --card: #1e2124; --ink: #e7e6e3;
  --soft: #9aa0a5; --edge: #33373b; --line: #74aee6; --best: #6fd592; --best-paper: #16341f;
  --changed: #e8b95a; --changed-paper: #392d12; --added: #6fd592; --removed: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 76rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 2.5rem 0 .75rem; }
p { color: var(--soft); margin: 0 0 .5rem; }
.charts { display: grid; gap: .9rem; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); }
figure { margin: 0; padding: .8rem .9rem .4rem; background: var(--card); border: 1px solid var(--edge);
  border-radius: .6rem; }
figcaption { font-weight: 600; font-size: .9rem; overflow-wrap: anywhere; }
figcaption span, .note { color: var(--soft); font-weight: 400; }
.chart { display: block; width: 100%; height: auto; }
.grid { stroke: var(--edge); } .line { fill: none; stroke: var(--line); stroke-width: 2; }
.dot { fill: var(--line); } .dot.best { fill: var(--best); }
.halo { fill: none; stroke: var(--best); stroke-width: 1.5; }
.tick { fill: var(--soft); font-size: 11px; text-anchor: middle; } .tick.left { text-anchor: end; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--edge); border-radius: .6rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .45rem .8rem; text-align: left; vertical-align: top; border-top: 1px solid var(--edge); }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; min-width: 8.5rem; max-width: 24rem; }
.numbers td { white-space: nowrap; }
thead th { border-top: 0; color: var(--soft); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 500; min-width: 10rem; max-width: 24rem; overflow-wrap: anywhere; }
th:first-child { position: sticky; left: 0; background: var(--card); }
tbody tr:hover, tbody tr:hover th { background: color-mix(in srgb, var(--edge) 35%, var(--card)); }
.best { color: var(--best); background: var(--best-paper); font-weight: 700; }
.changed { color: var(--changed); background: var(--changed-paper); }
.added { color: var(--added); } .removed { color: var(--removed); } .missing { color: var(--soft); }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
"""


def render(names: Sequence[str], sections: Sequence[Section]) -> str:
    """Return the page.

    Args:
        names: of the versions, as heads of columns.
    """
    versions, *rest = sections
    references = [cell.text for cell in versions.rows[0].cells]
    title = f"{len(names)} versions of {_model(references)}"
    drawn = [section for section in rest if section.kind in {"metric", "evaluation"}]
    body = tag(
        "body",
        tag("h1", title),
        tag("p", f"The first, {references[0]}, is what the others are held against."),
        *(each for section in drawn for each in _plots(section, names=names)),
        *(each for section in sections for each in _table(section, names=names)),
        tag("footer", f"Compared by steelyard on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", STYLE),
    )
    page = tag("html", head, body, lang="en")
    return "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def tag(kind: str, *content: Element | str | dict[str, str], **attributes: str) -> Element:
    """Make an element of texts and elements; attributes whose names are no words come in a dict."""
    made = Element(kind, attributes)
    for each in content:
        if isinstance(each, dict):
            made.attrib.update(each)
        elif not isinstance(each, str):
            made.append(each)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + each
        else:
            made.text = (made.text or "") + each
    return made


def _model(references: Sequence[str]) -> str:
    models = {reference.rpartition(":")[0] for reference in references}
    return models.pop() if len(models) == 1 else f"{len(models)} models"


def _plots(section: Section, *, names: Sequence[str]) -> Iterator[Element]:
    figures = [
        figure for row in section.rows[:CHARTS_MAXIMUM] if (figure := _figure(row, names=names)) is not None
    ]
    if not figures:
        return
    yield tag("h2", f"{section.title} over the versions")
    yield tag("div", *figures, {"class": "charts"})
    if len(section.rows) > CHARTS_MAXIMUM:
        yield tag("p", f"{len(section.rows) - CHARTS_MAXIMUM:,} more metrics stand in the table only.")


def _figure(row: Row, *, names: Sequence[str]) -> Element | None:
    chart = charts.line_chart(row.values, names=names, best=[cell.mark == "best" for cell in row.cells])
    if chart is None:
        return None
    return tag("figure", tag("figcaption", row.name, *_note(row)), chart)


def _note(row: Row) -> Iterator[Element | str]:
    if row.note:
        yield " "
        yield tag("span", row.note, {"class": "note"})


def _table(section: Section, *, names: Sequence[str]) -> Iterator[Element]:
    heads = tag("tr", tag("th", ""), *(tag("th", name, scope="col") for name in names))
    rows = [
        tag(
            "tr",
            tag("th", row.name, *_note(row), scope="row"),
            # What a name says stands in elements only; the numbers may stand in an attribute.
            *(_cell(cell, exact=cell.exact if row.values else "") for cell in row.cells),
        )
        for row in section.rows
        if not row.implied
    ]
    yield tag("h2", section.title)
    table = tag("table", tag("thead", heads), tag("tbody", *rows))
    if any(row.values for row in section.rows):
        table.set("class", "numbers")
    yield tag("div", table, {"class": "scroll"})
    if section.omitted:
        yield tag("p", f"{section.omitted:,} more are not shown.")


def _cell(cell: Cell, *, exact: str) -> Element:
    made = tag("td", cell.text)
    if cell.mark:
        made.set("class", cell.mark)
    if exact not in {"", cell.text}:
        made.set("title", exact)
    return made
