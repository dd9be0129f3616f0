# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: loading one, and recording what the readers read.

Private to this collection. Python 3.6, standard library.
"""

import json
import os
from typing import Any, Dict, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._answers import RecordedAnswers
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._tree import SnapshotBackend, check_snapshot_files

VERSION = 1
PROVENANCES = ("recorded", "from_packages", "synthesised")
SIZE_LIMIT = 64 << 20  # bytes


def _bad(path: str, message: str) -> AccelnetError:
    return AccelnetError("bad_snapshot", "{0}: {1}".format(path, message))


def _is_table(value: Any, depth: int) -> bool:
    """Whether a value is null or objects nested ``depth`` deep."""
    if value is None:
        return True
    if not isinstance(value, dict):
        return False
    return depth == 1 or all(_is_table(entry, depth - 1) for entry in value.values())


def check(path: str, content: Any) -> Dict[str, Any]:
    """A snapshot whose form is right. Raises AccelnetError (bad_snapshot) naming the file and the fault."""
    if not isinstance(content, dict):
        raise _bad(path, "is not a JSON object")
    if content.get("snapshot_version") != VERSION:
        raise _bad(path, "snapshot_version is {0!r}, this collection reads {1}".format(content.get("snapshot_version"), VERSION))
    if content.get("provenance") not in PROVENANCES:
        raise _bad(path, "provenance is none of {0}".format(", ".join(PROVENANCES)))
    fault = check_snapshot_files(content.get("files"))
    if fault:
        raise _bad(path, fault)
    answers = content.get("answers")
    if not isinstance(answers, dict):
        raise _bad(path, "'answers' is not an object")
    for key, depth in (("uname", 1), ("netlink", 1), ("ethtool", 2), ("modinfo", 2), ("packages", 2)):
        if not _is_table(answers.get(key), depth):
            raise _bad(path, "answers.{0} does not have the documented form".format(key))
    netlink = answers.get("netlink")
    if netlink is not None:
        addresses, routes = netlink.get("addresses"), netlink.get("default_routes")
        if not isinstance(addresses, dict) or not all(isinstance(entry, list) for entry in addresses.values()):
            raise _bad(path, "answers.netlink.addresses is not an object of lists")
        if routes is not None and not isinstance(routes, list):
            raise _bad(path, "answers.netlink.default_routes is not a list")
    return content


def load(path: str) -> Tuple[SnapshotBackend, RecordedAnswers, Dict[str, Any]]:
    """(files, answers, whole content) of a snapshot file. Raises AccelnetError (bad_snapshot)."""
    try:
        if os.path.getsize(path) > SIZE_LIMIT:
            raise _bad(path, "is larger than {0} bytes".format(SIZE_LIMIT))
        with open(path, "rb") as stream:
            content = check(path, json.loads(stream.read().decode("utf-8")))
    except OSError as error:
        raise _bad(path, error.strerror or str(error))
    except (ValueError, RecursionError) as error:
        raise _bad(path, "is not JSON: {0}".format(error))
    return SnapshotBackend(content["files"]), RecordedAnswers(content["answers"]), content
