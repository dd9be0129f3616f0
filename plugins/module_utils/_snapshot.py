# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots: loading one, and recording what the readers read.

Private to this collection. Python 3.6, standard library.
"""

import json
import os
from typing import Any, Callable, Dict, Tuple

from ansible_collections.accelnet.mana.plugins.module_utils._answers import RecordedAnswers
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._tree import SnapshotBackend, check_snapshot_files

VERSION = 1
PROVENANCES = ("recorded", "from_packages", "synthesised")
SIZE_LIMIT = 64 << 20  # bytes


def _bad(path: str, message: str) -> AccelnetError:
    return AccelnetError("bad_snapshot", "{0}: {1}".format(path, message))


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(entry is None or isinstance(entry, str) for entry in value.values())


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, int) for entry in value.values())


def _list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _tables(form: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is an object whose values have a form."""
    return lambda value: isinstance(value, dict) and all(form(entry) for entry in value.values())


def _netlink(value: Any) -> bool:
    if not isinstance(value, dict) or not _tables(_list_of_texts)(value.get("addresses")):
        return False
    return value.get("default_routes") is None or _list_of_texts(value["default_routes"])


def _offer(value: Any) -> bool:
    """What package_candidates says of a package; ``versions`` came later than ``version``."""
    if not isinstance(value, dict):
        return value is None
    return _texts({"version": value.get("version")}) and _list_of_texts(value.get("versions", []))


# What an answer is like when it is not null.
_ANSWERS: Tuple[Tuple[str, Callable[[Any], bool]], ...] = (
    ("uname", _texts),
    ("python", lambda value: isinstance(value, str)),
    ("netlink", _netlink),
    ("ethtool", _tables(_numbers)),
    ("modinfo", _tables(_texts)),
    ("packages", _tables(_offer)),
)


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
    for key, has_form in _ANSWERS:
        if answers.get(key) is not None and not has_form(answers[key]):
            raise _bad(path, "answers.{0} does not have the documented form".format(key))
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
