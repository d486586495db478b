"""What all commands have in common: how they say what is wrong, and when they tell how they are used."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

MISUSED = 2  # exit code of what a user can mend


def complain(message: object, code: int = MISUSED) -> int:
    """Says what is wrong, in one line on stderr; returns the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether usage is to be told: nothing is given, or -h or --help anywhere."""
    return not arguments or not {"-h", "--help"}.isdisjoint(arguments)


class Parser(argparse.ArgumentParser):
    """Options as --NAME; complains as all commands do."""

    def error(self, message: str) -> NoReturn:
        self.exit(complain(f"{message} (--help says more)"))
