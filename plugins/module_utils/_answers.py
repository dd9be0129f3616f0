# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What files do not tell: the answers of the kernel (netlink, ethtool) and of modinfo.

The kernel is asked in a child process with a time limit, because every such question waits for the kernel's network
lock, which a broken driver can hold for ever. A snapshot carries the answers that were recorded with it.

Sources: rtnetlink(7), Linux ``include/uapi/linux/{if_addr,rtnetlink,ethtool}.h``.
Private to this collection. Python 3.6, standard library.
"""

import array
import fcntl
import json
import os
import platform
import re
import select
import signal
import socket
import struct
import subprocess
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

TIME_LIMIT = 2.0  # seconds for all questions to the kernel
MODINFO_LIMIT = 20.0  # seconds
_SBIN = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")

Netlink = Dict[str, Any]  # addresses: {interface: ["10.0.0.4/24"]}, default_routes: [interface]


class Answers:
    """No answers at all: a tree that is not the running system."""

    def uname(self) -> Optional[Dict[str, str]]:
        return None

    def python(self) -> Optional[str]:
        return None

    def netlink(self) -> Optional[Netlink]:
        return None

    def ethtool(self, interfaces: List[str]) -> Dict[str, Dict[str, int]]:
        """Statistics ``vf_*`` by interface; interfaces without an answer are left out."""
        return {}

    def modinfo(self, paths: List[str]) -> Dict[str, Dict[str, str]]:
        """Fields of module files by path; files without an answer are left out."""
        return {}


class RecordedAnswers(Answers):
    """The ``answers`` of a snapshot."""

    def __init__(self, answers: Dict[str, Any]) -> None:
        self._answers = answers

    def uname(self) -> Optional[Dict[str, str]]:
        return self._answers.get("uname")

    def python(self) -> Optional[str]:
        return self._answers.get("python")

    def netlink(self) -> Optional[Netlink]:
        return self._answers.get("netlink")

    def ethtool(self, interfaces: List[str]) -> Dict[str, Dict[str, int]]:
        recorded = self._answers.get("ethtool") or {}
        return {name: recorded[name] for name in interfaces if name in recorded}

    def modinfo(self, paths: List[str]) -> Dict[str, Dict[str, str]]:
        recorded = self._answers.get("modinfo") or {}
        return {path: recorded[path] for path in paths if path in recorded}

    def packages(self) -> Dict[str, Any]:
        """What the repositories offered when the snapshot was made: {package: {version} or None}."""
        return self._answers.get("packages") or {}


class DirectoryAnswers(Answers):
    """A directory of this machine: only modinfo, which reads files, can be asked."""

    def __init__(self, root: str, warn: Callable[[str], None]) -> None:
        self._root = os.path.abspath(root).rstrip("/")
        self._warn = warn

    def modinfo(self, paths: List[str]) -> Dict[str, Dict[str, str]]:
        program = next((p for p in (d + "/modinfo" for d in _SBIN) if os.access(p, os.X_OK)), None)
        if program is None:
            self._warn("modinfo is not installed, so versions and signers of modules are not known")
            return {}
        real = {self._root + path: path for path in paths}
        try:
            # modinfo fails as a whole when one file is bad, but prints the good ones.
            done = subprocess.run(
                [program] + sorted(real),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"LC_ALL": "C", "PATH": ":".join(_SBIN)},
                timeout=MODINFO_LIMIT,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._warn("modinfo failed: {0}".format(error))
            return {}
        # Of a file that is no module modinfo prints the name alone; every module has at least its vermagic.
        blocks = parse_modinfo(done.stdout.decode("utf-8", "replace"))
        found = {real[path]: fields for path, fields in blocks if path in real and fields}
        for path in paths:
            if path not in found:
                self._warn("modinfo could not read {0}".format(path))
        return found


def parse_modinfo(text: str) -> Iterator[Tuple[str, Dict[str, str]]]:
    """(file, fields) of each block that modinfo prints; a block starts at its ``filename:`` line."""
    path: Optional[str] = None
    fields: Dict[str, str] = {}
    for line in text.splitlines():
        found = re.match(r"^(\w+):\s+(.*)$", line)
        if not found:
            continue
        key, value = found.groups()
        if key == "filename":
            if path is not None:
                yield path, fields
            path, fields = value, {}
        elif key in ("srcversion", "version", "signer", "vermagic"):
            fields[key] = value.strip()
    if path is not None:
        yield path, fields


class LiveAnswers(DirectoryAnswers):
    """The running system."""

    def uname(self) -> Optional[Dict[str, str]]:
        name = os.uname()
        return {"release": name.release, "machine": name.machine}

    def python(self) -> Optional[str]:
        return platform.python_version()

    def __init__(self, root: str, warn: Callable[[str], None]) -> None:
        super().__init__(root, warn)
        self._stuck = False

    def netlink(self) -> Optional[Netlink]:
        answers = self._ask([("addresses", _addresses), ("default_routes", _default_routes)])
        return answers if "addresses" in answers else None

    def ethtool(self, interfaces: List[str]) -> Dict[str, Dict[str, int]]:
        def question(name: str) -> Tuple[str, Callable[[], Any]]:
            return name, lambda: _vf_statistics(name)

        return {name: found for name, found in self._ask([question(name) for name in interfaces]).items() if found}

    def _ask(self, questions: List[Tuple[str, Callable[[], Any]]]) -> Dict[str, Any]:
        if self._stuck or not questions:
            return {}
        answers, in_time = ask_in_child(questions, TIME_LIMIT)
        if not in_time:
            self._stuck = True
            self._warn("rtnl_stuck: the kernel did not answer about the network in {0:g} s".format(TIME_LIMIT))
        return answers


def ask_in_child(questions: List[Tuple[str, Callable[[], Any]]], limit: float) -> Tuple[Dict[str, Any], bool]:
    """(answers that came, whether all came in time). A question that fails has no answer."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            # A child that hangs in the kernel cannot be killed; it must not keep our caller's pipes open.
            null = os.open(os.devnull, os.O_RDWR)
            for handle in (0, 1, 2):
                os.dup2(null, handle)
            os.close(reader)
            for name, question in questions:
                try:
                    os.write(writer, (json.dumps([name, question()]) + "\n").encode("ascii"))
                except (OSError, ValueError, struct.error):
                    continue
        finally:
            os._exit(0)
    os.close(writer)
    received = b""
    deadline = time.monotonic() + limit
    in_time = False
    while True:
        ready, _w, _x = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        part = os.read(reader, 65536)
        if not part:
            in_time = True
            break
        received += part
    os.close(reader)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0 if in_time else os.WNOHANG)
    answers = {}
    for line in received.decode("ascii").splitlines(True):
        if line.endswith("\n"):
            name, answer = json.loads(line)
            answers[name] = answer
    return answers, in_time


_RTM_GETADDR, _RTM_GETROUTE = 22, 26
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_RTA_OIF, _RTA_MULTIPATH = 4, 9
_RTN_UNICAST = 1


def _dump(kind: int, header: bytes) -> Iterator[bytes]:
    """The messages of one netlink dump, without their headers."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as link:
        link.bind((0, 0))
        link.send(struct.pack("=IHHII", 16 + len(header), kind, _NLM_F_REQUEST_DUMP, 1, 0) + header)
        while True:
            data = link.recv(1 << 20)
            offset = 0
            while offset + 16 <= len(data):
                length, message, _flags, _sequence, _port = struct.unpack_from("=IHHII", data, offset)
                if message == _NLMSG_DONE and (length < 20 or struct.unpack_from("=i", data, offset + 16)[0] >= 0):
                    return
                if message in (_NLMSG_DONE, _NLMSG_ERROR) or length < 16:
                    raise OSError("the kernel refused the question")
                yield data[offset + 16 : offset + length]
                offset += (length + 3) & ~3


def _attributes(data: bytes) -> Dict[int, bytes]:
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _addresses() -> Dict[str, List[str]]:
    """Interface -> addresses with prefix length, of this network namespace."""
    names = dict(socket.if_nameindex())
    found: Dict[str, List[str]] = {name: [] for name in names.values()}
    for message in _dump(_RTM_GETADDR, struct.pack("=BBBBI", socket.AF_UNSPEC, 0, 0, 0, 0)):
        family, prefix, _flags, _scope, index = struct.unpack_from("=BBBBI", message)
        attributes = _attributes(message[8:])
        address = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
        if address and index in names:  # else it appeared just now
            found[names[index]].append("{0}/{1}".format(socket.inet_ntop(family, address), prefix))
    return found


def _default_routes() -> List[str]:
    """The interfaces that default routes lead to, of all tables: a management VRF has its own."""
    names = dict(socket.if_nameindex())
    found: Set[str] = set()
    for message in _dump(_RTM_GETROUTE, struct.pack("=BBBBBBBBI", socket.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0)):
        _family, dst_len, _src, _tos, _table, _protocol, _scope, kind, _flags = struct.unpack_from("=BBBBBBBBI", message)
        attributes = _attributes(message[12:])
        if dst_len or kind != _RTN_UNICAST:
            continue
        hops = [attributes[_RTA_OIF]] if _RTA_OIF in attributes else []
        paths = attributes.get(_RTA_MULTIPATH, b"")
        while len(paths) >= 8:  # struct rtnexthop: length, flags, hops, interface
            hops.append(paths[4:8])
            paths = paths[max(8, (struct.unpack_from("=H", paths)[0] + 3) & ~3) :]
        found.update(names.get(struct.unpack("=I", hop)[0], "") for hop in hops)
    return sorted(name for name in found if name)


_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSTATS, _GSSET_INFO = 0x1B, 0x1D, 0x37
_ETH_SS_STATS = 1
_NAME_LENGTH = 32


def _vf_statistics(interface: str) -> Dict[str, int]:
    """The statistics ``vf_*`` that hv_netvsc keeps, by the ethtool ioctl; needs no privileges."""

    def ask(payload: bytes) -> bytes:
        buffer = array.array("B", payload)
        request = struct.pack("16sP16x", interface.encode(), buffer.buffer_info()[0])
        fcntl.ioctl(sock.fileno(), _SIOCETHTOOL, request)
        return buffer.tobytes()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = ask(struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _ETH_SS_STATS, 0))
        count = struct.unpack_from("=I", answer, 16)[0]
        if not count:
            return {}
        strings = ask(struct.pack("=III", _GSTRINGS, _ETH_SS_STATS, count) + bytes(count * _NAME_LENGTH))
        values = ask(struct.pack("=II", _GSTATS, count) + bytes(count * 8))
    found = {}
    for number in range(count):
        start = 12 + number * _NAME_LENGTH
        name = strings[start : start + _NAME_LENGTH].split(b"\0", 1)[0].decode("ascii", "replace")
        if name.startswith("vf_"):
            found[name] = struct.unpack_from("=Q", values, 8 + number * 8)[0]
    return found
