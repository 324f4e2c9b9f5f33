"""What ``--help`` of a command says of its options."""

from __future__ import annotations

from typing import Any


def without_flag_types(command: Any) -> Any:
    """The command of Typer's with all below it, whose flags are shown as what they are: options without a value.

    Typer 0.29 shows ``--json <bool>``, and a command that is given ``--json true`` is refused.
    """
    for option in command.params:
        if getattr(option, "is_flag", False):
            option.metavar = ""
    made = command.get_help_option

    def help_option(context: Any) -> Any:
        option = made(context)
        if option is not None:
            option.metavar = ""
        return option

    command.get_help_option = help_option
    for each in getattr(command, "commands", {}).values():
        without_flag_types(each)
    return command
