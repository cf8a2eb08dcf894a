"""Check that the protos break no caller of the last release, or while there is none of `main`.

On `main` itself they are held against the commit before.

    python tools/breaking.py [REVISION]

A release is a tag that starts with `v`. The protos of that revision are handed over as an archive, so
this works in a shallow clone, a work tree and with a detached HEAD as well.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = "protos/steelyard"


def git(*arguments: str) -> bytes | None:
    """Return what git prints, or None when it fails."""
    result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    return result.stdout if result.returncode == 0 else None


def base() -> str | None:
    """Name the revision to compare with: release, main, or the commit before; the first that has protos."""
    release = git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    candidates = [release.decode().strip()] if release else []
    candidates += [branch for branch in ("origin/main", "main") if _is_elsewhere(branch)] or ["HEAD^"]
    return next((each for each in candidates if git("cat-file", "-e", f"{each}:{PROTOS}") is not None), None)


def _is_elsewhere(branch: str) -> bool:
    found = git("rev-parse", "--verify", "--quiet", branch)
    return found is not None and found != git("rev-parse", "HEAD")


def compare(revision: str) -> int:
    """Run buf against the protos of *revision* and return its exit code."""
    archive = git("archive", revision, "buf.yaml", "protos")
    if archive is None:
        print(f"git has no protos at {revision}; name another revision.", file=sys.stderr)
        return 2
    command = [str(ROOT / ".venv/bin/buf"), "breaking", "--against", "-#format=tar"]
    return subprocess.run(command, cwd=ROOT, input=archive, check=False).returncode


def main(arguments: list[str]) -> int:
    """Compare with the given or the found revision; nothing to compare with is fine."""
    revision = arguments[0] if arguments else base()
    if revision is None:
        print("breaking: git holds no earlier protos, so nothing can break")
        return 0
    return compare(revision)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
