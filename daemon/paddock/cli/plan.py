"""`plan`: the path of `apply` and the daemon, up to where something would be done."""

from __future__ import annotations

import argparse
import asyncio

from paddock.cli import views
from paddock.cli.look import look_once
from paddock.cli.options import is_verbose, settings_of
from paddock.core.plan_json import plan_to_json

EXIT_CHANGES = 2


def plan(options: argparse.Namespace) -> int:
    """Show what apply would do; change nothing, lock nothing."""
    made = asyncio.run(look_once(settings_of(options))).plan
    document = plan_to_json(made)
    text = views.plan_text(document, made.models, verbose=is_verbose(options))
    views.show(document, text, options.output)
    return EXIT_CHANGES if options.detailed_exitcode and made.actions else 0
