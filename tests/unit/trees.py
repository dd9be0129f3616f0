# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small trees for the tests of the readers: a dict of path -> entry, as in snapshots, for either backend."""

import base64
import errno
import os
import posixpath

from ansible_collections.accelnet.mana.plugins.module_utils._answers import RecordedAnswers
from ansible_collections.accelnet.mana.plugins.module_utils._facts import collect_from
from ansible_collections.accelnet.mana.plugins.module_utils._tree import DirectoryBackend, SnapshotBackend, Tree

NETVSC_CLASS = "{f8615163-df3e-46c5-913f-f2d2f965ed0e}\n"
VPCI_CLASS = "{44c4f61d-4444-4400-9d52-802e27ede19f}\n"


def binary(data):
    return {"base64": base64.b64encode(data).decode()}


def link(target):
    return {"link": target}


class FailingBackend(DirectoryBackend):
    """A directory some of whose paths cannot be read; real permissions mean nothing to root."""

    def __init__(self, root, errors):
        super().__init__(root)
        self._errors = errors

    def _check(self, path):
        if path in self._errors:
            number = getattr(errno, self._errors[path])
            raise OSError(number, os.strerror(number))

    def kind(self, path):
        self._check(posixpath.dirname(path))
        return super().kind(path)

    def read(self, path, limit):
        self._check(path)
        return super().read(path, limit)

    def listdir(self, path):
        self._check(path)
        return super().listdir(path)


def write(root, files):
    """The entries as real files below a directory; returns the paths that shall not be readable."""
    errors = {}
    for path, entry in files.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(entry, str):
            place.write_bytes(entry.encode())
        elif "base64" in entry:
            place.write_bytes(base64.b64decode(entry["base64"]))
        elif "link" in entry:
            place.symlink_to(entry["link"])
        elif "dir" in entry:
            place.mkdir(exist_ok=True)
        elif "error" in entry:
            errors[path] = entry["error"]
            if not any(other.startswith(path + "/") for other in files):
                place.touch()
        else:
            place.touch()
    return errors


def directory(root, files):
    root.mkdir(exist_ok=True)
    return Tree(FailingBackend(str(root), write(root, files)))


def snapshot(files):
    return Tree(SnapshotBackend(files))


def facts(files, hardware=None, kernels=None, subset=None, **answers):
    """What nic_info says of a snapshot."""
    tree = snapshot(files)
    return collect_from(tree, RecordedAnswers(answers), False, hardware=hardware, kernels=kernels, subset=subset)


# --- hardware, as sysfs shows it


def netdev(name, mac, parent=None, **attributes):
    """An interface; ``parent`` is the directory of its device. Attributes of None are left out; master and lower link."""
    home = (parent or "/sys/devices/virtual") + "/net/" + name
    files = {"/sys/class/net/" + name: link(os.path.relpath(home, "/sys/class/net"))}
    if parent:
        files[home + "/device"] = link("../../../" + posixpath.basename(parent))
    values = {"address": mac, "type": "1", "mtu": "1500", "dev_port": "0", "operstate": "up", "flags": "0x1003"}
    values.update({"statistics/rx_bytes": "1000", "statistics/tx_bytes": "2000"})
    for way in ("lower", "upper"):
        for other in attributes.pop(way, ()):
            files["{0}/{1}_{2}".format(home, way, other)] = link("/sys/class/net/" + other)
    master = attributes.pop("master", None)
    if master:
        files[home + "/master"] = link("/sys/class/net/" + master)
    values.update({key.replace("__", "/"): value for key, value in attributes.items()})
    files.update({"{0}/{1}".format(home, key): "{0}\n".format(value) for key, value in values.items() if value is not None})
    return files


def pci(address, pci_id="1414:00ba", driver="mana", pci_class="0x020000", numa_node="0"):
    home = "/sys/devices/pci" + address
    vendor, device = pci_id.split(":")
    files = {
        "/sys/bus/pci/devices/" + address: link("../../../devices/pci" + address + "/" + address),
        home + "/" + address + "/class": pci_class + "\n",
        home + "/" + address + "/vendor": "0x" + vendor + "\n",
        home + "/" + address + "/device": "0x" + device + "\n",
        home + "/" + address + "/numa_node": numa_node + "\n",
        home + "/" + address + "/modalias": "pci:v0000{0}d0000{1}sv00001414sd00000000bc02sc00i00\n".format(vendor.upper(), device.upper()),
    }
    if driver:
        files["{0}/{1}/driver".format(home, address)] = link("../../../bus/pci/drivers/" + driver)
        files["/sys/bus/pci/drivers/{0}/module".format(driver)] = {"dir": True}
    return files


def pci_path(address):
    return "/sys/devices/pci{0}/{0}".format(address)


def vmbus(guid, driver="hv_netvsc", class_id=NETVSC_CLASS, monitored=True, override=None):
    home = "/sys/devices/LNXSYSTM/VMBUS/" + guid
    files = {
        "/sys/bus/vmbus/devices/" + guid: link("../../../devices/LNXSYSTM/VMBUS/" + guid),
        home + "/class_id": class_id,
        home + "/device_id": "{" + guid + "}\n",
    }
    if override is not None:
        files[home + "/driver_override"] = override + "\n"
    if monitored:
        files[home + "/monitor_id"] = "1\n"
    if driver:
        files[home + "/driver"] = link("../../../../bus/vmbus/drivers/" + driver)
        files["/sys/bus/vmbus/drivers/{0}/module".format(driver)] = {"dir": True}
    return files


def vmbus_path(guid):
    return "/sys/devices/LNXSYSTM/VMBUS/" + guid


def verbs(name, address, ports=(1,), netdevs=None):
    """A verbs device; ``netdevs``: {port: {index of the GID: interface or an error}}."""
    home = "{0}/infiniband/{1}".format(pci_path(address), name)
    files = {"/sys/class/infiniband/" + name: link(home), home + "/device": link("../../../" + address)}
    for port in ports:
        files["{0}/ports/{1}/state".format(home, port)] = "4: ACTIVE\n"
        for index, entry in (netdevs or {}).get(port, {}).items():
            files["{0}/ports/{1}/gid_attrs/ndevs/{2}".format(home, port, index)] = entry
    return files


def merged(*parts):
    files = {}
    for part in parts:
        files.update(part)
    return files
