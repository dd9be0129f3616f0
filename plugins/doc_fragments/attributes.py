# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attributes that modules of this collection share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and tell what would happen, without touching the host.
  diff_mode:
    description: Shows what changes in diff mode.
  platform:
    description: The systems that it can be used for.
  idempotent:
    description: Changes nothing when it is run again.
"""

    # Read-only modules of Linux hosts.
    INFO = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and tell what would happen, without touching the host.
    support: full
    details:
      - This only reads.
  diff_mode:
    description: Shows what changes in diff mode.
    support: N/A
    details:
      - This only reads.
  platform:
    description: The systems that it can be used for.
    support: full
    platforms: linux
  idempotent:
    description: Changes nothing when it is run again.
    support: full
    details:
      - This only reads.
"""

    # Actions that run on the controller alone.
    CONTROLLER = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode and tell what would happen, without touching the host.
    support: full
    details:
      - The files of the report are written in check mode too, they are no change of any host.
  diff_mode:
    description: Shows what changes in diff mode.
    support: N/A
    details:
      - This changes no host.
  platform:
    description: The systems that it can be used for.
    support: full
    platforms: all
  idempotent:
    description: Changes nothing when it is run again.
    support: full
    details:
      - This changes no host.
  action:
    description: Has a part that runs on the controller.
    support: full
    details:
      - All of it runs on the controller; no connection is opened, so it works for hosts that cannot be reached.
"""
