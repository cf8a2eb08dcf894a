"""The command line: ``steelyard push``, ``pull``, ``models`` and more.

Modules here import neither gRPC nor protobuf at their top, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os


def main() -> None:
    """Run the command line and exit with its code."""
    # gRPC's core writes lines of its own to standard error otherwise.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from steelyard.cli.app import run

    run()
