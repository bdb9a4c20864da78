"""`completion`: the script by which a shell completes Paddock's commands and options."""

from __future__ import annotations

import argparse

from paddock.cli import views


def run(options: argparse.Namespace) -> int:
    """Print the script for a shell."""
    import shtab

    from paddock.cli.main import make_parser

    views.line(shtab.complete(make_parser(), options.shell).rstrip())
    return 0
