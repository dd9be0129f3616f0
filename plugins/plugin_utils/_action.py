# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the actions share: most run on the controller only, and all turn bad input into a failed result.

Private to this collection.
"""

from __future__ import annotations

import os
import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.plugin_utils._run_files import plain


class ControllerAction(ActionBase):  # type: ignore[misc]
    """An action that opens no connection, so that it also works for hosts that cannot be reached."""

    TRANSFERS_FILES = False
    _requires_connection = False
    SPEC: t.ClassVar[dict[str, dict[str, t.Any]]]

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        arguments = self.validate_argument_spec(self.SPEC)[1]
        try:
            acted = self.act(plain({name: arguments.get(name) for name in self.SPEC}), task_vars or {})
            result.update({"changed": False, **acted})
        except AccelnetError as error:
            result.update(failed=True, changed=False, msg=error.message, reason=error.reason)
        return result

    def act(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """The work: arguments -> result. May raise AccelnetError."""
        raise NotImplementedError


def controller_path(path: str) -> str:
    """A path as the user means it: below the directory in which ansible-playbook was started."""
    return os.path.abspath(os.path.expanduser(path))
