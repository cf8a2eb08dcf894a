"""The command line: ``steelyard push``, ``pull``, ``models`` and more.

Modules here import neither gRPC nor protobuf at their top, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os


def main() -> None:
    """Run the command line and exit with its code."""
    # gRPC's core, which reads this when it is loaded, would write of what is reported properly here.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from steelyard.cli.app import run

    run()
