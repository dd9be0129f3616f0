# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recording a snapshot: what the readers read of a host, as far as an allow-list lets it through.

The readers run on a backend that writes down every answer it gives, so a snapshot holds what they need and nothing
else. Private to this collection. Python 3.6, standard library.
"""

import base64
import errno
import re
from typing import Any, Dict, List, Optional, Pattern, Tuple, cast

from ansible_collections.accelnet.mana.plugins.module_utils._answers import Answers
from ansible_collections.accelnet.mana.plugins.module_utils._modprobe import GRUB_LINE
from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import AZURE_ASSET_TAG, MODULES
from ansible_collections.accelnet.mana.plugins.module_utils._tree import DIRECTORY, FILE, LINK, OTHER, Backend

_NAMES = "|".join(name.replace("_", "[-_]") for name in MODULES)
_LIBRARIES = (
    r"(?:librte_(?:eal|net_\w+)\.(?:so[.\d]*|a)|libmana(?:-rdmav\d+)?\.so[.\d]*|libibverbs\.so[.\d]*"
    r"|libdpdk\.pc|mana\.driver|manadv\.h|dpdk-testpmd)"
)

# What may be recorded; a path that matches none of these is as if it were not there.
_ALLOWED = re.compile(
    r"^(?:"
    r"/(?:etc|usr/lib)/os-release"
    r"|/etc/ld\.so\.conf(?:\.d/[^/]+\.conf)?"
    r"|/(?:etc|run|usr/local/lib|usr/lib|lib)/modprobe\.d/[^/]+\.conf"
    r"|/etc/default/grub(?:\.d/[^/]+\.cfg)?|/(?:etc|usr/lib)/kernel/cmdline|/proc/cmdline"
    r"|/boot/grub2?/(?:grub\.cfg|grubenv)|/boot/loader/entries/[^/]+\.conf|/(?:boot/efi|boot|efi)/loader/loader\.conf"
    r"|/boot/config-[^/]+|(?:/usr)?/lib/modules/[^/]+/(?:modules\.(?:dep|builtin|alias)|config|vmlinuz|build|kernel(?:/drivers)?)"
    r"|(?:/usr)?/lib/modules/.*/(?:" + _NAMES + r")\.ko(?:\.\w+)?"
    r"|/usr/(?:src|lib/modules|lib)/[^/]*(?:linux|kernels)[^/]*(?:/[^/]+)*/Makefile"
    r"|/usr/src/(?:linux-headers-|kernels/)[^/]+"
    r"|/sys/class/(?:net|infiniband)/.*|/sys/class/dmi/id/chassis_asset_tag|/sys/devices/.*"
    r"|/sys/bus/(?:pci|vmbus|virtio|auxiliary)/.*|/sys/firmware/efi/efivars/SecureBoot-[-0-9a-f]+"
    r"|/sys/kernel/security/lockdown|/sys/kernel/mm/hugepages/.*"
    r"|/sys/module/(?:" + _NAMES + r")/(?:initstate|srcversion)|/sys/module/module/parameters/sig_enforce"
    r"|/(?:usr/)?s?bin/(?:apt-get|tdnf|dnf|zypper|sh|bash|dash|busybox|env|init|ofed_info|mlnxofedctl)|/usr/lib/systemd/systemd"
    r"|/etc/infiniband/openib\.conf|/opt/mellanox/doca/applications\.list"
    r"|/var/lib/accelnet/dpdk_port\.json"
    r"|/.*/" + _LIBRARIES + r"|/.*/pmds-[\d.]+/.*"
    r")$"
)
# Directories whose mere presence a reader asks for.
_PRESENCE = re.compile(
    r"^/(?:sys(?:/firmware(?:/efi)?|/class/dmi/id|/bus)?|boot/grub2?|(?:usr/)?lib(?:64)?(?:/[^/]+-linux-gnu)?|usr/local/lib(?:64)?)$"
)
# Whole texts that are reduced to the lines or words that decisions need.
_MODPROBE = re.compile(r"/modprobe\.d/[^/]+\.conf$")
_MODPROBE_LINE = re.compile(r"^\s*(?:(?:blacklist|install|alias|options|softdep)\b.*\b(?:" + _NAMES + r")\b|allow_unsupported_modules\b)")
_CMDLINE = re.compile(r"/(?:cmdline|grub|[^/]+\.cfg|grubenv|[^/]+\.conf)$")
_PARAMETERS = (
    "module_blacklist modprobe.blacklist rd.driver.blacklist module.sig_enforce lockdown "
    "default_hugepagesz hugepagesz hugepages iommu panic oops"
).split()
_PARAMETER = re.compile(r"(?<![\w.-])(?:" + "|".join(map(re.escape, _PARAMETERS)) + r")=[\w.,:/-]+")
_GRUB_KEY = re.compile(r"^\s*(?:export\s+)?(GRUB_DEFAULT|GRUB_FORCE_PARTUUID)=.*$")
_BOOT_LINE = re.compile(
    r"^\s*(?:menuentry\s|submenu\s|set default=|linux(?:efi|16)?\s+\S+|blscfg|(?:saved|next)_entry=.*"
    r"|title .*|version .*|default .*|# GRUB Environment Block)"
)


def is_allowed(path: str) -> bool:
    """Whether a path may be part of a snapshot."""
    return bool(_ALLOWED.match(path))


def reduce_text(path: str, text: str) -> str:
    """The part of a configuration file that decisions need: command lines hold what is nobody's business."""
    if _MODPROBE.search(path):
        lines = [line for line in text.replace("\\\n", " ").splitlines() if _MODPROBE_LINE.search(line)]
        return "".join(line + "\n" for line in lines)
    if path.endswith("/cmdline"):
        return " ".join(_PARAMETER.findall(text)) + "\n"
    if path.startswith(("/etc/default/", "/boot/")) and _CMDLINE.search(path):
        lines = []
        for line in text.splitlines():
            boot = _BOOT_LINE.match(line)
            words = " ".join(_PARAMETER.findall(line))
            if _GRUB_KEY.match(line):
                lines.append(line)
            elif GRUB_LINE.match(line):
                lines.append('{0}="{1}"'.format(GRUB_LINE.sub(r"\1", line), words))
            elif line.startswith(("options ", "options\t")):
                lines.append("options " + words)
            elif boot:
                # Only the kernel of a linux line: what follows names disks.
                lines.append(line if not re.match(r"^\s*linux", line) else boot.group(0) + (" " + words if words else ""))
        return "".join(line + "\n" for line in lines)
    return text


class RecordingBackend(Backend):
    """Passes all questions on and keeps the answers as the ``files`` of a snapshot."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.root = backend.root
        self.files: Dict[str, Any] = {}

    def _failed(self, path: str, error: OSError) -> None:
        if is_allowed(path) and error.errno not in (errno.ENOENT, errno.ENOTDIR):
            self.files[path] = {"error": errno.errorcode.get(error.errno or 0, "EIO")}

    def kind(self, path: str) -> Optional[str]:
        try:
            kind = self._backend.kind(path)
        except OSError as error:
            self._failed(path, error)
            raise
        if kind in (FILE, OTHER) and is_allowed(path):
            self.files.setdefault(path, {"file": True})
        elif kind == DIRECTORY and (is_allowed(path) or _PRESENCE.match(path)):
            self.files.setdefault(path, {"dir": True})
        return kind

    def readlink(self, path: str) -> str:
        target = self._backend.readlink(path)
        # Every link on the way to something allowed is needed; a link says no more than its target's path.
        self.files[path] = {"link": target}
        return target

    def read(self, path: str, limit: int) -> bytes:
        try:
            data = self._backend.read(path, limit)
        except OSError as error:
            self._failed(path, error)
            raise
        if is_allowed(path):
            self.files[path] = _entry(path, data)
        return data

    def listdir(self, path: str) -> List[str]:
        try:
            names = self._backend.listdir(path)
        except OSError as error:
            self._failed(path, error)
            raise
        for name in names:
            child = "{0}/{1}".format(path.rstrip("/"), name)
            if is_allowed(child) and child not in self.files:
                self._note_child(child)
        return names

    def _note_child(self, path: str) -> None:
        try:
            kind = self._backend.kind(path)
            if kind == LINK:
                self.files[path] = {"link": self._backend.readlink(path)}
            elif kind == DIRECTORY:
                self.files[path] = {"dir": True}
            elif kind is not None and not path.startswith("/sys/"):  # attributes count only when they are read
                self.files[path] = {"file": True}
        except OSError as error:
            self._failed(path, error)

    def excerpt(self, path: str, pattern: Pattern[str]) -> Tuple[str, bool]:
        text, whole = self._backend.excerpt(path, pattern)
        if is_allowed(path):
            self.files[path] = reduce_text(path, text)
        return text, whole


def _entry(path: str, data: bytes) -> Any:
    """How a file's content is kept: as text where it is text."""
    if path.endswith("/chassis_asset_tag") and data.decode("utf-8", "replace").strip() != AZURE_ASSET_TAG:
        return "not Azure's\n"  # other clouds put serial numbers here
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return {"base64": base64.b64encode(data).decode("ascii")}
    return reduce_text(path, text)


class RecordingAnswers(Answers):
    """Passes all questions on and keeps the answers as those of a snapshot."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.recorded: Dict[str, Any] = {}

    def _keep(self, question: str, answer: Any) -> Any:
        self.recorded[question] = answer
        return answer

    def uname(self) -> Optional[Dict[str, str]]:
        return cast(Optional[Dict[str, str]], self._keep("uname", self._answers.uname()))

    def python(self) -> Optional[str]:
        return cast(Optional[str], self._keep("python", self._answers.python()))

    def netlink(self) -> Optional[Dict[str, Any]]:
        return cast(Optional[Dict[str, Any]], self._keep("netlink", self._answers.netlink()))

    def ethtool(self, interfaces: List[str]) -> Dict[str, Dict[str, int]]:
        return cast(Dict[str, Dict[str, int]], self._keep("ethtool", self._answers.ethtool(interfaces)))

    def modinfo(self, paths: List[str]) -> Dict[str, Dict[str, str]]:
        return cast(Dict[str, Dict[str, str]], self._keep("modinfo", self._answers.modinfo(paths)))
