# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The error that a user of the lab sees."""

from __future__ import annotations

import pathlib


class LabError(Exception):
    """Something that the lab was asked for and could not do, in words for whoever asked."""

    logs: pathlib.Path | None = None
    """Where the logs of the lab are, once it is gone."""

    def __str__(self) -> str:
        text = super().__str__()
        return text if self.logs is None else f"{text} (logs: {self.logs})"
