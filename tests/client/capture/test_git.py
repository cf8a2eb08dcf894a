"""Which commit a push records: of real repositories in every state that they may be in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from steelyard import Source
from steelyard.capture import git as capture
from tests.client.repositories import IDENTITY, ORIGIN, commit, git, repository


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a directory without a repository, without settings of one's own."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return directory


def taken(path: Path) -> tuple[Source, list[str]]:
    notes: list[str] = []
    return capture.source(path, note=notes.append), notes


def changed(code: Path) -> None:
    (code / "train.py").write_text("print('other')\n")


def staged(code: Path) -> None:
    changed(code)
    git(code, "add", "train.py")


def removed(code: Path) -> None:
    (code / "train.py").unlink()


def untracked(code: Path) -> None:
    (code / "model.onnx").write_bytes(b"weights")


def ignored(code: Path) -> None:
    (code / ".git" / "info" / "exclude").write_text("*.onnx\n")
    untracked(code)


def touched(code: Path) -> None:
    os.utime(code / "train.py", (1, 1))


def locked(code: Path) -> None:
    (code / ".git" / "index.lock").touch()


def nothing(_: Path) -> None:
    pass


STATES: list[tuple[Callable[[Path], None], bool]] = [
    (nothing, False),
    (changed, True),
    (staged, True),
    (removed, True),
    (untracked, False),
    (ignored, False),
    (touched, False),
    (locked, False),
]


@pytest.mark.parametrize(("change", "dirty"), STATES, ids=[change.__name__ for change, _ in STATES])
def test_a_change_of_a_tracked_file_makes_it_dirty(
    tmp_path: Path,
    change: Callable[[Path], None],
    dirty: bool,  # noqa: FBT001  a case
) -> None:
    head = repository(tmp_path / "code")
    change(tmp_path / "code")
    assert taken(tmp_path / "code") == (Source(ORIGIN, head, dirty=dirty), [])


def test_the_repository_around_the_path_counts_and_not_that_of_the_current_directory(
    tmp_path: Path, elsewhere: Path
) -> None:
    head = repository(tmp_path / "code")
    repository(elsewhere, origin="https://git.example.org/other.git")
    (tmp_path / "code" / "out" / "deep").mkdir(parents=True)
    (tmp_path / "code" / "out" / "model.onnx").touch()
    for path in ("out", "out/deep", "out/model.onnx"):
        assert taken(tmp_path / "code" / path)[0].commit == head


def test_without_a_repository_around_the_path_that_of_the_current_directory_counts(
    tmp_path: Path, elsewhere: Path
) -> None:
    head = repository(elsewhere)
    assert taken(tmp_path)[0] == Source(ORIGIN, head, dirty=False)


def test_without_any_repository_nothing_is_recorded_and_nothing_said(tmp_path: Path) -> None:
    assert taken(tmp_path) == (Source(), [])


def test_a_detached_head_has_a_commit(tmp_path: Path) -> None:
    head = repository(tmp_path / "code")
    git(tmp_path / "code", "checkout", "--quiet", "--detach")
    assert taken(tmp_path / "code")[0].commit == head


def test_another_worktree_has_its_own_commit(tmp_path: Path) -> None:
    repository(tmp_path / "code")
    git(tmp_path / "code", "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "tree"))
    (tmp_path / "tree" / "train.py").write_text("print('tree')\n")
    head = commit(tmp_path / "tree")
    assert taken(tmp_path / "tree") == (Source(ORIGIN, head, dirty=False), [])


def test_a_repository_without_a_commit_is_said(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert taken(tmp_path) == (Source(), ["git commit: the repository has no commit yet"])


def test_a_bare_repository_has_a_commit_and_no_working_tree(tmp_path: Path) -> None:
    head = repository(tmp_path / "code")
    git(tmp_path, "clone", "--quiet", "--bare", str(tmp_path / "code"), str(tmp_path / "bare"))
    found, notes = taken(tmp_path / "bare")
    assert (found.commit, found.dirty) == (head, None)
    assert any("work tree" in note for note in notes)


def test_inside_a_submodule_its_own_commit_counts(tmp_path: Path) -> None:
    inner = repository(tmp_path / "inner")
    repository(tmp_path / "code")
    git(tmp_path / "code", "submodule", "--quiet", "add", str(tmp_path / "inner"), "part")
    outer = commit(tmp_path / "code")
    part = tmp_path / "code" / "part"
    assert taken(part)[0].commit == inner
    assert taken(tmp_path / "code")[0] == Source(ORIGIN, outer, dirty=False)
    untracked(part)
    assert taken(tmp_path / "code")[0].dirty is False
    (part / "train.py").write_text("print('moved')\n")
    assert taken(tmp_path / "code")[0].dirty is True


def test_a_repository_of_somebody_else_is_said_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository(tmp_path / "code")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")
    found, notes = taken(tmp_path / "code")
    assert found == Source()
    assert len(notes) == 1
    assert "safe.directory" in notes[0]


def test_a_damaged_repository_is_said(tmp_path: Path) -> None:
    repository(tmp_path / "code")
    (tmp_path / "code" / ".git" / "refs" / "heads" / "main").write_text("not a commit\n")
    found, notes = taken(tmp_path / "code")
    assert found == Source()
    assert notes[0].startswith("git commit: ")


def test_without_git_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(tmp_path / "code")
    monkeypatch.setenv("PATH", str(tmp_path))
    found, notes = taken(tmp_path / "code")
    assert found == Source()
    assert notes == ["git commit: git cannot be run (No such file or directory)"]


def test_a_git_that_does_not_answer_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its child keeps its output open for longer than anybody would wait."""
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 300 &\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(capture, "ANSWER_SECONDS", 0.2)
    assert taken(tmp_path) == (Source(), ["git commit: git did not answer within 0.2 seconds"])


def test_what_hooks_of_git_set_leads_to_no_other_repository(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = repository(tmp_path / "code")
    repository(elsewhere)
    monkeypatch.setenv("GIT_DIR", str(elsewhere / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(elsewhere / ".git" / "index"))
    monkeypatch.setenv("GIT_WORK_TREE", str(elsewhere))
    assert taken(tmp_path / "code") == (Source(ORIGIN, head, dirty=False), [])


def test_a_program_that_the_repository_names_is_not_run(tmp_path: Path) -> None:
    code = tmp_path / "code"
    repository(code)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was-run'}\n")
    program.chmod(0o755)
    git(code, "config", "core.fsmonitor", str(program))
    git(code, "status")
    (tmp_path / "was-run").unlink()
    changed(code)
    assert taken(code)[0].dirty is True
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("setting", ["clean", "process"])
@pytest.mark.parametrize("included", [False, True], ids=["local", "included"])
def test_a_filter_that_the_repository_names_is_not_run_and_that_is_said(
    tmp_path: Path, setting: str, *, included: bool
) -> None:
    code = tmp_path / "code"
    repository(code)
    (code / ".gitattributes").write_text("*.py filter=own\n")
    head = commit(code)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was-run'}\nexec cat\n")
    program.chmod(0o755)
    if included:
        git(code, "config", "--file", str(tmp_path / "more"), f"filter.own.{setting}", str(program))
        git(code, "config", "include.path", str(tmp_path / "more"))
    else:
        git(code, "config", f"filter.own.{setting}", str(program))
    os.utime(code / "train.py", (1, 1))
    found, notes = taken(code)
    assert not (tmp_path / "was-run").exists()
    assert found == Source(ORIGIN, head, dirty=None)
    assert len(notes) == 1
    assert str(program) in notes[0]


def test_the_filter_of_large_files_is_no_stranger(tmp_path: Path) -> None:
    code = tmp_path / "code"
    head = repository(code)
    git(code, "config", "filter.lfs.clean", "git-lfs clean -- %f")
    git(code, "config", "filter.lfs.process", "git-lfs filter-process")
    assert taken(code) == (Source(ORIGIN, head, dirty=False), [])


def test_a_filter_behind_more_than_is_read_is_not_run(tmp_path: Path) -> None:
    code = tmp_path / "code"
    repository(code)
    (code / ".gitattributes").write_text("*.py filter=last\n")
    commit(code)
    padding = "".join(f'[filter "{n:0200}"]\n\tclean = git-lfs clean -- %f\n' for n in range(400))
    last = f'[filter "last"]\n\tclean = touch {tmp_path / "was-run"}; cat\n'
    with (code / ".git" / "config").open("a") as settings:
        settings.write(padding + last)
    os.utime(code / "train.py", (1, 1))
    assert taken(code)[0].dirty is None
    assert not (tmp_path / "was-run").exists()


def test_a_clone_that_lacks_objects_is_not_filled(tmp_path: Path) -> None:
    """What it fetches with is a program that the repository names."""
    repository(tmp_path / "full")
    git(tmp_path / "full", "config", "uploadpack.allowFilter", "true")
    source = f"file://{tmp_path / 'full'}"
    git(tmp_path, "clone", "--quiet", "--filter=tree:0", "--no-checkout", source, "code")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path / 'was-run'}\nexit 1\n")
    program.chmod(0o755)
    git(tmp_path / "code", "config", "remote.origin.uploadpack", str(program))
    taken(tmp_path / "code")
    assert not (tmp_path / "was-run").exists()


def test_credentials_of_the_remote_are_not_recorded(tmp_path: Path) -> None:
    repository(tmp_path / "code", origin="https://ada:s3cret@git.example.org/risk/fraud.git")
    assert taken(tmp_path / "code")[0].repository == ORIGIN


@pytest.mark.parametrize("origin", ["/srv/git/fraud.git", "../fraud", "https://ada:s3/cret@example.org/r"])
def test_a_remote_that_cannot_be_named_elsewhere_is_left_out_and_said(tmp_path: Path, origin: str) -> None:
    head = repository(tmp_path / "code", origin=origin)
    found, notes = taken(tmp_path / "code")
    assert found == Source(commit=head, dirty=False)
    assert len(notes) == 1
    assert origin not in notes[0]


def test_without_a_remote_the_commit_is_recorded_alone(tmp_path: Path) -> None:
    head = repository(tmp_path / "code", origin="")
    assert taken(tmp_path / "code") == (Source(commit=head, dirty=False), [])
