# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the generators of documentation share: writing a page, or telling that it is stale."""

from __future__ import annotations

import argparse
import collections.abc
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# The checkout as a collection; a caller that has its own way to import it comes first.
sys.path.append(str(ROOT / ".cache" / "collections"))


def cell(text: str) -> str:
    """A text that can stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(header: collections.abc.Sequence[str], rows: collections.abc.Iterable[collections.abc.Sequence[str]]) -> list[str]:
    """The lines of a table; none without rows."""
    lines = [f"| {' | '.join(cell(text) for text in row)} |" for row in rows]
    return [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}", *lines, ""] if lines else []


def main(description: str, page: str, render: collections.abc.Callable[[], str]) -> int:
    """Write the page, or with --check fail when it is not what would be written."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the page is stale")
    check = parser.parse_args().check
    path = ROOT / page
    text = render()
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"{page} is stale: run scripts/{pathlib.Path(sys.argv[0]).name}", file=sys.stderr)
        return 1
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return 0
