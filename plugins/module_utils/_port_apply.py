# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gives NICs to user space, and back: files, bindings, links and huge pages, with a record of what was there before.

The record is written before the first change, so that a run that dies can be finished or undone. Which NICs may be taken
is decided on the controller. Private to this collection. Python 3.6, standard library.
"""

import inspect
import json
import os
from typing import Any, Dict, List, NamedTuple, Optional

from ansible_collections.accelnet.mana.plugins.module_utils import _eal, _hugepages, _override, _port_files
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
from ansible_collections.accelnet.mana.plugins.module_utils._system import System, dump_record, load_record

RECORD = _eal.RECORD
UIO = "uio_hv_generic"

Options = NamedTuple(
    "Options",
    [
        ("ports", List[Dict[str, Any]]),
        ("modules", List[str]),
        ("hugepages_mb", int),  # of each node; 0 leaves them alone
        ("hugepages_kb", Optional[int]),
        ("hugepages_share", float),
        ("cloud_init", bool),
        ("eal_name", str),
        ("python", str),
    ],
)


def _link_state(system: System, name: str) -> Dict[str, Any]:
    """Whether a link was up, and the addresses that somebody gave it for good: those of DHCP come back by themselves."""
    flags = int(system.value("/sys/class/net/{0}/flags".format(name)) or "0", 0)
    code, output = system.ask(["ip", "-json", "address", "show", "dev", name])
    addresses = []
    try:
        rows = json.loads(output) if code == 0 else []
    except ValueError:
        rows = []
    for row in rows:
        for entry in row.get("addr_info") or []:
            if entry.get("scope") == "global" and not entry.get("dynamic") and entry.get("local"):
                addresses.append("{0}/{1}".format(entry["local"], entry["prefixlen"]))
    return {"up": bool(flags & 1), "addresses": addresses}


class Ports:
    """All NICs of user space of one host."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.warnings: List[str] = []
        self.not_restored: List[str] = []
        try:
            self.record = load_record(system, RECORD)
        except ValueError as error:
            raise AccelnetError("bad_record", "{0}: {1}".format(RECORD, error))
        self.had_record = bool(self.record)
        self.record.setdefault("schema_version", 1)
        for key, empty in (("ports", []), ("files", {}), ("links", {}), ("hugepages_before", {}), ("hugepages", {})):
            self.record.setdefault(key, empty)

    def _save(self) -> None:
        self.system.write(RECORD, dump_record(self.record), 0o600)

    def _recorded(self, mac: str) -> Optional[Dict[str, Any]]:
        return next((port for port in self.record["ports"] if port["mac"] == mac), None)

    def _interfaces_now(self, mac: str) -> List[str]:
        """The interfaces of this MAC that have a device."""
        names = self.system.names("/sys/class/net")
        return [
            name
            for name in names
            if (self.system.value("/sys/class/net/{0}/address".format(name)) or "").lower() == mac
            and self.system.exists("/sys/class/net/{0}/device".format(name))
        ]

    # --- giving

    def give(self, options: Options) -> None:
        """Make user space have these NICs, beside those that it has. Raises AccelnetError; then all of this is undone."""
        counts = {}
        if options.hugepages_mb:
            pools = _hugepages.read_pools(self.system)
            counts = _hugepages.wanted(pools, options.hugepages_mb, options.hugepages_kb, options.hugepages_share)
            for pool in pools:
                if pool.path in counts:
                    self.record["hugepages_before"].setdefault(pool.path, pool.total)
            self.record["hugepages"].update(counts)
        fresh = [port for port in options.ports if self._recorded(port["mac"]) is None]
        for port in options.ports:
            self._remember(port, options.eal_name)
        macs = sorted(port["mac"] for port in self.record["ports"])
        interfaces = sorted({name for port in self.record["ports"] for name in port["interfaces"]})
        files = {}
        if self.record["ports"]:
            files = _port_files.wanted_files(
                self.system, macs, interfaces, options.modules, options.python, inspect.getsource(_eal), options.cloud_init
            )
            self.warnings += _port_files.remarks(self.system, macs, interfaces, options.cloud_init)
        if counts:
            files[_hugepages.TMPFILES] = _hugepages.tmpfiles(self.record["hugepages"])
        for path in files:
            self.record["files"].setdefault(path, self.system.read(path))
        if self.record["ports"] or counts:
            self._save()
        try:
            self._carry_out(options, files)
        except (AccelnetError, OSError) as error:
            self._undo(fresh)
            if isinstance(error, AccelnetError):
                raise
            raise AccelnetError("bind_failed", str(error))

    def _remember(self, port: Dict[str, Any], eal_name: str) -> None:
        known = self._recorded(port["mac"])
        row = {
            "mac": port["mac"],
            "mode": port["mode"],
            "vmbus_device": port.get("vmbus_device"),
            "eal_name": eal_name,
            "interfaces": port.get("interfaces") or [],
        }
        if known is None:
            for name in row["interfaces"]:
                self.record["links"][name] = dict(_link_state(self.system, name), mac=port["mac"])
            self.record["ports"].append(row)
        else:
            # The names of before the binding are worth more than what is left of them.
            known.update(row, interfaces=sorted(set(known["interfaces"]) | set(row["interfaces"])))

    def _carry_out(self, options: Options, files: Dict[str, str]) -> None:
        system = self.system
        changed = {path for path, text in files.items() if system.write(path, text, 0o755 if path == _port_files.EAL_SCRIPT else 0o644)}
        if self.record["ports"] and system.symlink(_port_files.EAL_WANTED, "../" + _port_files.EAL_UNIT_NAME):
            changed.add(_port_files.EAL_WANTED)
        self._reload(changed, [port["mac"] for port in self.record["ports"]])
        if self.record["hugepages"] and options.hugepages_mb:
            _hugepages.reserve(system, self.record["hugepages"])
        for port in self.record["ports"]:
            self._take_down(port)
        for port in self.record["ports"]:
            if port["mode"] == "netvsc" and port["vmbus_device"]:
                _override.set_override(system, "vmbus", port["vmbus_device"], UIO)
        for name in options.modules if self.record["ports"] else []:
            if not system.exists("/sys/module/" + name):
                system.act("load {0}".format(name))
                code, output = system.run(["modprobe", name])
                if code:
                    self.warnings.append("modprobe {0}: {1}".format(name, output))
        if self.record["ports"]:
            self._write_eal()

    def _take_down(self, port: Dict[str, Any]) -> None:
        """Both halves down and without address: net_mana refuses a VF that is up with -19."""
        for name in self._interfaces_now(port["mac"]):
            flags = int(self.system.value("/sys/class/net/{0}/flags".format(name)) or "0", 0)
            if flags & 1:
                self.system.act("set {0} down".format(name))
                code, output = self.system.run(["ip", "link", "set", "dev", name, "down"])
                if code:
                    raise AccelnetError("bind_failed", "{0} cannot be set down: {1}".format(name, output))
            if _link_state(self.system, name)["addresses"]:
                self.system.act("remove the addresses of {0}".format(name))
                self.system.run(["ip", "address", "flush", "dev", name])

    def _write_eal(self) -> None:
        before = {name: self.system.read("{0}/{1}".format(_eal.OUTPUT, name)) for name in self.system.names(_eal.OUTPUT)}
        if self.system.check:
            return
        late = _eal.write_args(self.system.root, _eal.WAIT if self.system.live else 0.0)
        self.warnings += ["no virtual function of {0} now".format(mac) for mac in late]
        after = {name: self.system.read("{0}/{1}".format(_eal.OUTPUT, name)) for name in self.system.names(_eal.OUTPUT)}
        if before != after:
            self.system.actions.append("write the EAL arguments")

    def _reload(self, changed: Any, macs: List[str]) -> None:
        """Tell who reads the files that changed; udev looks again at the interfaces of these MACs only."""
        system = self.system
        booted = system.exists("/run/systemd/system")
        if not booted:
            return
        if _port_files.UDEV in changed:
            system.run(["udevadm", "control", "--reload"])
            names = sorted({name for mac in macs for name in self._interfaces_now(mac)})
            if names:
                system.run(["udevadm", "trigger", "--action=change"] + ["/sys/class/net/" + name for name in names])
            system.run(["udevadm", "settle", "--timeout=30"])
        if changed & {_port_files.EAL_UNIT, _port_files.EAL_WANTED}:
            system.run(["systemctl", "daemon-reload"])
        if _port_files.NETWORKD in changed and system.run(["systemctl", "is-active", "--quiet", "systemd-networkd"])[0] == 0:
            system.run(["networkctl", "reload"])
        if _port_files.NETWORK_MANAGER in changed and system.run(["systemctl", "is-active", "--quiet", "NetworkManager"])[0] == 0:
            system.run(["nmcli", "general", "reload", "conf"])

    # --- taking back

    def take_back(self, macs: List[str]) -> None:
        """Give these NICs back to the kernel, an empty list is all; and the huge pages when none is left."""
        if not self.had_record:
            return
        leaving = [port for port in self.record["ports"] if not macs or port["mac"] in macs]
        staying = [port for port in self.record["ports"] if port not in leaving]
        if macs and not leaving:
            return
        everything = not staying
        system = self.system
        for port in leaving:
            if port["mode"] == "netvsc" and port["vmbus_device"]:
                try:
                    _override.set_override(system, "vmbus", port["vmbus_device"], None)
                except AccelnetError as error:
                    self.not_restored.append(error.message)
        self.record["ports"] = staying
        if staying:
            changed = self._rewrite_for([port["mac"] for port in staying])
        else:
            changed = self._remove_files(everything)
        if everything:
            self.not_restored += _hugepages.restore(system, self.record["hugepages_before"], self.record["hugepages"])
            self.record["hugepages"] = self.record["hugepages_before"] = {}
        self._reload(changed, [port["mac"] for port in leaving])
        for port in leaving:
            self._restore_links(port)
        if staying or self.record["hugepages"]:
            self._save()
        else:
            system.remove(RECORD)
        if system.names(_eal.OUTPUT) and not system.check:
            _eal.write_args(system.root, 0.0)
        system.tidy(_eal.OUTPUT, "/run/accelnet", "/usr/libexec/accelnet", "/var/lib/accelnet")

    def _rewrite_for(self, macs: List[str]) -> Any:
        """The files by MAC for those that stay; all others are of no MAC."""
        system = self.system
        texts = {
            _port_files.UDEV: _port_files.udev_rules(macs, system.which("ip") or "/sbin/ip"),
            _port_files.NETWORKD: _port_files.networkd(macs),
            _port_files.NETWORK_MANAGER: _port_files.network_manager(macs),
        }
        return {path for path, text in texts.items() if path in self.record["files"] and system.write(path, text)}

    def _remove_files(self, everything: bool) -> Any:
        """Remove our files, or put back what was in their place."""
        changed = set()
        kept = {}
        for path, before in sorted(self.record["files"].items()):
            if path == _hugepages.TMPFILES and not everything:
                kept[path] = before
            elif before is not None:
                if self.system.write(path, before):
                    changed.add(path)
            elif self.system.remove(path):
                changed.add(path)
        if self.system.remove(_port_files.EAL_WANTED):
            changed.add(_port_files.EAL_WANTED)
        self.record["files"] = kept
        return changed

    def _restore_links(self, port: Dict[str, Any]) -> None:
        """Links up again that were, with the addresses that were given for good."""
        system = self.system
        present = self._interfaces_now(port["mac"])
        for name in port["interfaces"]:
            before = self.record["links"].pop(name, None)
            if not before or not before["up"]:
                continue
            # A VF of a pair is brought up by its synthetic half.
            if name not in present:
                if not system.check and not (port["mode"] == "netvsc" and present):
                    self.not_restored.append("{0} is not there any more, so it was not set up".format(name))
                continue
            flags = int(system.value("/sys/class/net/{0}/flags".format(name)) or "0", 0)
            now = _link_state(system, name)["addresses"]
            if not flags & 1:
                system.act("set {0} up".format(name))
                code, output = system.run(["ip", "link", "set", "dev", name, "up"])
                if code:
                    self.not_restored.append("{0}: {1}".format(name, output))
            for address in before["addresses"]:
                if address not in now:
                    system.act("give {0} to {1}".format(address, name))
                    code, output = system.run(["ip", "address", "replace", address, "dev", name])
                    if code:
                        self.not_restored.append("{0}: {1}".format(address, output))

    def _undo(self, fresh: List[Dict[str, Any]]) -> None:
        """Give back what this run took, after a failure. What cannot be is in ``not_restored``; the record keeps the rest."""
        self.had_record = True
        if self.record["ports"] and not fresh:
            return
        try:
            everything = len(fresh) == len(self.record["ports"])
            self.take_back([] if everything else [port["mac"] for port in fresh])
        except (AccelnetError, OSError) as error:
            self.not_restored.append(str(error))


def python_of(system: System, ours: str) -> str:
    """The interpreter for our unit: the one that runs this, unless it is of a virtual environment."""
    real = os.path.realpath(ours) if system.live else ours
    return real if real.startswith("/usr/") else (system.which("python3") or "/usr/bin/python3")
