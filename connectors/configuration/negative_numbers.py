"""Commands to which somebody gives a number below zero: ``write press/offset -5``, without ``--`` before it."""

from __future__ import annotations

import re
from typing import Any, Final

from typer.core import TyperCommand

_BELOW_ZERO: Final = re.compile(r"-(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf)")


class TakesNegativeNumbers(TyperCommand):
    """Takes a number below zero for a value, and everything else that begins with ``-`` for an option.

    The command may have no short option of which such a number could consist.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See ``click.Command.parse_args``."""
        ctx.ignore_unknown_options = any(_BELOW_ZERO.fullmatch(arg) for arg in args)
        return super().parse_args(ctx, args)
