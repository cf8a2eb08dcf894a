"""Evaluations and comparisons on the command line: in a pipe, on a terminal, as JSON, as a page."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from google.protobuf import json_format

import steelyard
from steelyard.cli import comparison, comparison_page
from steelyard.metric_keys import MetricKey
from steelyard.v1 import comparison_pb2, evaluation_pb2, version_pb2
from tests.cli.shell import Outcome, Shell
from tests.client.trees import write_tree

HOSTILE = "<script>alert(1)</script>\"'&amp;"
PATH = "<img src=x onerror=alert(1)>'&.bin"


@pytest.fixture
def compared(shell: Shell) -> Shell:
    """Run commands where `fraud` has two versions that differ in everything, and newer measures."""
    server, namespace = shell.variables["STEELYARD_SERVER"], shell.variables["STEELYARD_NAMESPACE"]
    with steelyard.Client(server, namespace=namespace, actor="ada") as client:
        client.models.create(
            "fraud", metric_directions={"precision": "higher-is-better", "loss": "lower-is-better"}
        )
        for number, value in ((1, 0.5), (2, 0.75)):
            directory = write_tree(shell.directory / f"model{number}", {"w.onnx": b"x" * number})
            client.push(
                "fraud",
                directory,
                metrics={"precision@holdout": value, "loss@holdout": value},
                parameters={"depth": number, "same": 1},
                datasets=[steelyard.Dataset("holdout", role="holdout", version=f"{number}")],
                parents=[steelyard.Parent("fine-tuned-from", uri="hf://org/base")],
                schema=steelyard.Schema((steelyard.SchemaField("x", "float32", (-1, number)),)),
            )
        client.evaluations.record("fraud:2", {"precision@new": 1 / 3})
    return shell


def plain(done: Outcome) -> str:
    """Return what a terminal shows, without colours."""
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", done.out)


def test_in_a_pipe_each_line_is_a_kind_a_name_and_a_cell_for_each_version(compared: Shell) -> None:
    done = compared.ok("compare", "fraud:1", "fraud:2")
    model = f"{compared.variables['STEELYARD_NAMESPACE']}/fraud"
    rows = {(row[0], row[1]): row[2:] for row in done.rows}
    assert done.rows[0] == ["version", "reference", f"{model}:1", f"{model}:2"]
    assert rows["metric", "precision@holdout"] == ["0.5", "0.75", ":2"]
    assert rows["metric", "loss@holdout"] == ["0.5", "0.75", ":1"]
    assert rows["evaluation", "precision@new"] == ["-", repr(1 / 3), ""]
    assert rows["parameter", "depth"] == ["1", "2"]
    assert ("parameter", "same") not in rows
    assert [cell.split()[0] for cell in rows["file", "w.onnx"]] == ["1", "2"]
    assert rows["dataset", "holdout holdout"] == ["1", "2"]
    assert rows["schema", "input x"] == ["float32[-1, 1]", "float32[-1, 2]"]
    assert rows["ancestor", "hf://org/base"] == ["yes", "yes"]
    assert "\x1b" not in done.out
    assert not re.search("[▁-█]", done.out)
    assert done.err == ""


@pytest.fixture
def subtle(shell: Shell) -> Shell:
    """Run commands where two versions look alike unless one looks closely."""
    server, namespace = shell.variables["STEELYARD_SERVER"], shell.variables["STEELYARD_NAMESPACE"]
    write_tree(shell.directory / "subtle", {"w.onnx": b"x"})
    with steelyard.Client(server, namespace=namespace) as client:
        client.models.create("subtle", metric_directions={"rows": "higher-is-better"})
        for dirty, text, rows in ((False, "4", 1e12), (True, 4, 1e12 + 1)):
            client.push(
                "subtle",
                shell.directory / "subtle",
                metrics={"rows": rows, "nan": math.nan},
                parameters={"depth": text, "word": "word"},
                source=steelyard.Source("https://git/a", "a" * 40, dirty=dirty, run=f"github:{rows:.0f}"),
            )
    return shell


def test_versions_whose_source_alone_differs_are_told_apart(subtle: Shell) -> None:
    rows = {row[1]: row[2:] for row in subtle.ok("compare", "subtle:1", "subtle:2").rows}
    assert rows["commit"] == ["a" * 12, "a" * 12 + " with changes"]
    assert rows["run"] == ["github:1000000000000", "github:1000000000001"]
    assert rows["repository"] == ["https://git/a"] * 2
    assert rows["depth"] == ['"4"', "4"]
    shown = plain(subtle.on_terminal("compare", "subtle:1", "subtle:2"))
    assert re.search(r"commit +aaaaaaaaaaaa +aaaaaaaaaaaa with changes", shown), shown


def test_in_a_pipe_all_that_are_best_are_named_and_none_where_no_direction_is_known(subtle: Shell) -> None:
    subtle.ok("push", "subtle", "subtle", "-m", "rows=1000000000001", "-m", "other=1", "--no-capture")
    rows = {row[1]: row[5:] for row in subtle.ok("compare", *(f"subtle:{each}" for each in (1, 2, 3))).rows}
    assert rows["rows"] == [":2 :3"]
    assert rows["other"] == [""]
    assert rows["depth"] == []


def test_numbers_that_differ_look_different_where_one_is_the_best(subtle: Shell) -> None:
    done = subtle.on_terminal("compare", "subtle:1", "subtle:2")
    assert re.search(r"rows ↑ +▁█ +1000000000000 +1000000000001", plain(done)), plain(done)
    assert re.search(r"\x1b\[1;32m1000000000001\s*\x1b\[0m", done.out)


def test_on_a_terminal_the_best_stands_out_and_sparks_are_drawn(compared: Shell) -> None:
    done = compared.on_terminal("compare", "fraud:1", "fraud:2")
    assert done.code == 0, done.out
    assert re.search(r"\x1b\[1;32m0\.75\s*\x1b\[0m", done.out)
    assert re.search(r"\x1b\[1;32m0\.5\s*\x1b\[0m", done.out)
    shown = plain(done)
    assert re.search(r"precision@holdout ↑ +▁█ +0\.5 +0\.75", shown), shown
    assert re.search(r"loss@holdout ↓ +▁█ +0\.5 +0\.75", shown), shown
    assert re.search(r"w\.onnx changed +1 B \w+ +2 B \w+", shown), shown
    for title in (
        "Versions",
        "Metrics",
        "Newest evaluations",
        "Parameters that differ",
        "Ancestors in common",
    ):
        assert title in shown


def test_on_a_narrow_terminal_versions_that_do_not_fit_come_below(compared: Shell) -> None:
    for number in range(3, 13):
        directory = write_tree(compared.directory / f"model{number}", {"w.onnx": b"x" * number})
        compared.ok("push", "fraud", directory, "-m", f"precision@holdout={1 / number}")
    done = compared.on_terminal("compare", *(f"fraud:{number}" for number in range(1, 13)), "-m", "precision")
    shown = plain(done)
    assert done.code == 0, shown
    assert max(map(len, shown.splitlines())) <= 100
    for number in range(1, 13):
        assert re.search(rf"(?<!\d):{number}(?!\d)", shown)


def test_only_the_metric_that_is_named_is_compared(compared: Shell) -> None:
    done = compared.ok("compare", "fraud:1", "fraud:2", "--metric", "precision@holdout")
    assert [row[1] for row in done.rows if row[0] in {"metric", "evaluation"}] == ["precision@holdout"]
    done = compared.ok("compare", "fraud:1", "fraud:2", "--metric", "nothing")
    assert "none of these versions has nothing" in done.err


def test_with_json_a_comparison_is_its_message(compared: Shell) -> None:
    found = json.loads(compared.ok("compare", "fraud:1", "fraud:2", "--json").out)
    message = json_format.ParseDict(found, comparison_pb2.Comparison())
    assert [version.number for version in message.versions] == [1, 2]
    assert message.metrics[0].values[0].best


@pytest.mark.parametrize(
    ("evaluated", "expected"), [([False, True], ("evaluation", 7)), ([False, False], ("metric", 7))]
)
def test_what_was_left_out_is_said_where_it_is_missing(
    evaluated: list[bool], expected: tuple[str, int]
) -> None:
    value = comparison_pb2.MeasuredValue(value=1)
    metrics = [
        comparison_pb2.MetricComparison(name="f1", evaluated=each, values=[value]) for each in evaluated
    ]
    message = comparison_pb2.Comparison(
        versions=[version_pb2.Version(model="default/fraud", number=1)],
        metrics=metrics,
        omitted=comparison_pb2.OmittedEntries(metrics=7),
    )
    found = comparison.sections(steelyard.Comparison.of(message))
    assert [(each.kind, each.omitted) for each in found if each.omitted] == [expected]


class Page(HTMLParser):
    """What a browser would see: elements with attributes, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.kinds: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.kinds.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_stands_alone_and_shows_what_the_table_does(compared: Shell) -> None:
    done = compared.ok("compare", "fraud:1", "fraud:2", "--html", "page.html")
    assert "page.html" in done.err
    assert done.out == compared.ok("compare", "fraud:1", "fraud:2").out
    page = Page((compared.directory / "page.html").read_text(encoding="utf-8"))
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "href", "srcset", "action", "onload", "style"}
    assert "script" not in page.kinds
    # Two of the three metrics have two values, and so a plot.
    assert page.kinds.count("svg") == 2
    for text in ("precision@holdout", "depth", "w.onnx", "hf://org/base", "0.75", "float32[-1, 2]"):
        assert text in page.text
    assert ("class", "best") in page.attributes
    assert ("class", "dot best") in page.attributes
    # Those of metrics and of evaluations, whose numbers stay on one line.
    assert page.attributes.count(("class", "numbers")) == 2
    assert [path.name for path in compared.directory.glob(".page*")] == []


def test_names_that_look_like_markup_are_text_on_the_page(shell: Shell) -> None:
    server, namespace = shell.variables["STEELYARD_SERVER"], shell.variables["STEELYARD_NAMESPACE"]
    with steelyard.Client(server, namespace=namespace) as client:
        model = HOSTILE.replace("/", "-")
        for number in (1, 2):
            directory = write_tree(shell.directory / f"hostile{number}", {PATH: b"x" * number})
            client.push(
                model,
                directory,
                metrics={str(MetricKey(HOSTILE, HOSTILE, HOSTILE)): number},
                parameters={HOSTILE: HOSTILE * number},
                datasets=[steelyard.Dataset(HOSTILE, version=f"{number}", uri=HOSTILE)],
                schema=steelyard.Schema((steelyard.SchemaField(HOSTILE, HOSTILE * number),)),
                framework=steelyard.Framework(HOSTILE, HOSTILE),
                source=steelyard.Source(commit=HOSTILE[:12]),
                parents=[steelyard.Parent("fine-tuned-from", uri=HOSTILE)],
                labels={HOSTILE: HOSTILE},
                references=[steelyard.Reference("elsewhere", HOSTILE, size_bytes=number)],
            )
        found = client.compare([f"{model}:1", f"{model}:2"])
    text = comparison_page.render(found.names, comparison.sections(found))
    page = Page(text)
    assert not {"script", "img"} & set(page.kinds)
    assert {name for name, _ in page.attributes if name.startswith("on")} == set()
    assert page.text.count(HOSTILE) >= 8
    assert PATH in page.text
    assert "<script" not in text


def test_a_page_that_exists_is_replaced_only_when_that_is_said(compared: Shell) -> None:
    page = compared.directory / "page.html"
    page.write_text("mine")
    done = compared.run("compare", "fraud:1", "fraud:2", "--html", page)
    assert (done.code, done.out, page.read_text()) == (3, "", "mine")
    assert "--overwrite" in done.err
    compared.ok("compare", "fraud:1", "fraud:2", "--html", page, "--overwrite")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_asked(compared: Shell) -> None:
    for name in (".", "missing/page.html"):
        done = compared.run("compare", "fraud:1", "fraud:2", "--html", name)
        assert (done.code, done.out) == (3, ""), done.err
        assert "Traceback" not in done.err


def test_a_failed_comparison_leaves_no_page(compared: Shell) -> None:
    done = compared.run("compare", "fraud:1", "fraud:9", "--html", "page.html")
    assert done.code == 5
    assert not (compared.directory / "page.html").exists()


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("compare fraud:1", 2, "1 of 2 to 20 versions"),
        ("compare", 2, "Missing argument"),
        ("compare fraud:2 fraud", 2, "named twice"),
        ("compare fraud:1 fraud@nobody", 5, "ALIAS_NOT_FOUND"),
        ("compare fraud:1 fraud:2 -m a[b]", 2, "names no metric"),
        ("compare fraud:1 default/fraud:1", 2, "RESOURCE_MISMATCH"),
        ("evaluations record fraud:1", 2, "-m"),
        ("evaluations record fraud:1 -m a=b", 2, "is not a number"),
        ("evaluations record fraud -m a=1", 2, "names no version"),
        ("evaluations record fraud:9 -m a=1", 5, "VERSION_NOT_FOUND"),
        ("evaluations record fraud:1 -m a=1 --time yesterday", 2, "--time"),
        ("evaluations record fraud:1 -m a=1 --time 2026-10-01", 2, "--time"),
        ("evaluations record fraud:1 -m a=1 --time 2999-01-01T00:00:00Z", 2, "TIMESTAMP_INVALID"),
        ("evaluations record fraud:1 -m a=1 --report nothing", 2, "nothing"),
        ("evaluations record fraud:1 -m a=1 --dataset new", 2, "is not name=value"),
        ("evaluations record fraud:1 -m a@new=1 --dataset new=missing.csv", 2, "missing.csv"),
        ("evaluations record fraud:1 -m a@new=1 --dataset nw=s3://new", 2, "did you mean 'new'?"),
        ("evaluations ls fraud:9", 5, "VERSION_NOT_FOUND"),
        ("evaluations cat fraud:1 nothing", 5, "has no evaluation"),
    ],
)
def test_what_is_wrong_has_its_exit_code(compared: Shell, command: str, code: int, words: str) -> None:
    done = compared.run(*command.split())
    assert (done.code, done.out) == (code, ""), done.err
    assert words in done.err
    assert "Traceback" not in done.err


def test_evaluations_are_recorded_listed_and_their_reports_read(compared: Shell) -> None:
    write_tree(compared.directory, {"new.csv": b"a,b\n", "report.html": b"<p>"})
    arguments = (
        "--dataset",
        "new=new.csv",
        "--dataset",
        "old=s3://old",
        "--report",
        "report.html",
        "--uri",
        "https://runs/7",
    )
    done = compared.ok(
        *("evaluations", "record", "fraud:1", "-m", "precision@new=0.9", "-m", "loss@old[region=EU]=nan"),
        *(*arguments, "--time", "2026-10-01T12:00:00+02:00", "-d", "text", "--reason", "monthly"),
    )
    assert done.out == ""
    assert ":1 is evaluated: 2 metrics" in done.err
    newer = compared.ok("evaluations", "record", "fraud:1", "-m", "precision@new=0.8", "--json")
    uid = json.loads(newer.out)["uid"]
    rows = compared.ok("evaluations", "ls", "fraud:1").rows
    assert [row[1] for row in rows] == ["precision@new=0.8", "(precision@new=0.9), loss@old[region=EU]=nan"]
    assert rows[0][6] == uid
    assert rows[1][0] == "2026-10-01 10:00:00"
    assert rows[1][2:6] == ["new, old", "report.html, 3 B", "ada (stated)", "https://runs/7"]
    assert len(compared.ok("evaluations", "ls", "fraud:1", "--limit", "1").rows) == 1
    assert compared.ok("evaluations", "cat", "fraud:1", rows[1][6]).out == "<p>"
    (found, _) = reversed(json.loads(compared.ok("evaluations", "ls", "fraud:1", "--json").out))
    message = json_format.ParseDict(found, evaluation_pb2.Evaluation())
    assert list(message.superseded) == [0]
    assert message.datasets[0].digest.startswith("sha256:")
    late = compared.ok(
        "evaluations", "record", "fraud:1", "-m", "precision@new=0.1", "--time", "2020-01-01T00:00:00Z"
    )
    assert "newer measures are recorded of precision@new" in late.err


@pytest.mark.parametrize("columns", [60, 120, 160])
def test_the_name_of_an_evaluation_can_be_copied(compared: Shell, columns: int) -> None:
    recorded = compared.ok(
        *("evaluations", "record", "fraud:1", "-m", "precision@new[region=EU]=0.9", "-m", "recall@new=0.25"),
        *("--dataset", "new=s3://data/new", "--uri", "https://runs.example/7000000", "--json"),
    )
    drawn = plain(compared.on_terminal("evaluations", "ls", "fraud:1", columns=columns))
    assert json.loads(recorded.out)["uid"] in drawn


def test_a_page_is_the_same_on_a_file_system_without_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steelyard.cli import compare

    def refuse(*_: object) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    compare._write(tmp_path / "page.html", "text", overwrite=False)
    assert (tmp_path / "page.html").read_text() == "text"
    with pytest.raises(steelyard.errors.DestinationExists):
        compare._write(tmp_path / "page.html", "other", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "text"
