# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a plan, and the host that it is made for.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._pci_ids import ETHERNET_MODULES, RDMA_MODULES
from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS
from ansible_collections.accelnet.mana.plugins.plugin_utils import _compat
from ansible_collections.accelnet.mana.plugins.plugin_utils._assess import compat_host, running_kernel
from ansible_collections.accelnet.mana.plugins.plugin_utils._inputs import NIC_KINDS, Facts

Kernel = t.Mapping[str, t.Any]

# The order in which steps are carried out.
_ORDER = (
    ("nic_driver", "boot"),
    ("nic_driver", "unblacklist"),
    ("nic_driver", "package"),
    ("nic_driver", "kernel"),
    ("nic_driver", "backport"),
    ("nic_driver", "load"),
    ("vf_unmanaged", "configure"),
    ("rdma_core", "package"),
    ("rdma_core", "source"),
    ("dpdk", "package"),
    ("dpdk", "source"),
    ("dpdk_port", "hugepages"),
    ("dpdk_port", "bind"),
)


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing to do, for one role. ``provides`` says what the facts show afterwards."""

    role: str
    action: str
    subject: str
    provides: tuple[str, ...]
    reasons: tuple[str, ...]
    why: str
    kernel: str | None = None
    needs: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    metapackages: tuple[str, ...] = ()
    suite: str | None = None
    version: str | None = None
    confidence: str | None = None
    proved_on: str | None = None
    reboot: bool = False
    donor: t.Mapping[str, t.Any] | None = None
    """For a backport: version of the kernel source to take the drivers from, its packages, and the archive that they bring."""

    @property
    def rank(self) -> tuple[int, str]:
        return _ORDER.index((self.role, self.action)), self.subject

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "id": f"{self.role}.{self.action}.{self.subject}",
            "role": self.role,
            "action": self.action,
            "kernel": self.kernel,
            "needs": list(self.needs),
            "provides": list(self.provides),
            "reasons": list(self.reasons),
            "why": self.why,
            "packages": list(self.packages),
            "metapackages": list(self.metapackages),
            "suite": self.suite,
            "version": self.version,
            "confidence": self.confidence,
            "proved_on": self.proved_on,
            "reboot": self.reboot,
            "donor": dict(self.donor) if self.donor else None,
        }


@dataclasses.dataclass(frozen=True)
class Obstacle:
    """Why something cannot be done: what the user can do, and the policy option that would allow it, if one would."""

    reason: str
    remedy: str
    option: str | None = None


@dataclasses.dataclass
class Draft:
    """A plan in the making."""

    steps: list[Step] = dataclasses.field(default_factory=list)
    blocked: dict[Obstacle, list[str]] = dataclasses.field(default_factory=dict)
    advice: list[dict[str, t.Any]] = dataclasses.field(default_factory=list)
    unknown_packages: set[str] = dataclasses.field(default_factory=set)

    def block(self, subject: str, *obstacles: Obstacle) -> None:
        for obstacle in obstacles:
            subjects = self.blocked.setdefault(obstacle, [])
            if subject not in subjects:
                subjects.append(subject)

    def block_for(self, reason: str, subject: str, option: str | None = None) -> None:
        """Block with the remedy that the reason's own documentation gives."""
        self.block(subject, Obstacle(reason, REASONS[reason].remedy, option))


@dataclasses.dataclass(frozen=True)
class Target:
    """The facts of a host with the goal and the policy, and what follows from them at once."""

    facts: Facts
    goal: str
    policy: t.Mapping[str, t.Any]

    @property
    def has_hardware(self) -> bool:
        """Whether the facts describe a machine; those of an image do not."""
        return self.facts["nics"] is not None

    def has_vmbus(self, vmbus_class: str) -> bool:
        """Whether devices of a VMBus class are to be expected: where they are seen, and in images."""
        return not self.has_hardware or any(device["class"] == vmbus_class for device in self.facts["vmbus_devices"] or [])

    @property
    def uses_netvsc(self) -> bool:
        """Whether DPDK is to have the synthetic interface too, as fall-back while the VF is away."""
        return self.has_vmbus("netvsc") and self.policy["dpdk_mode"] == "netvsc"

    @functools.cached_property
    def observed_kinds(self) -> tuple[str, ...]:
        rows = list(self.facts["pci_functions"] or []) + list(self.facts["nics"] or [])
        seen = {row["kind"] for row in rows}
        return tuple(kind for kind in NIC_KINDS if kind in seen)

    @functools.cached_property
    def kinds(self) -> tuple[str, ...]:
        """The NIC kinds that have to work. An image may meet any of them."""
        if self.policy["target_nics"] != "observed":
            return tuple(kind for kind in NIC_KINDS if kind in self.policy["target_nics"])
        return self.observed_kinds if self.has_hardware else NIC_KINDS

    def modules_of(self, kind: str) -> tuple[str, ...]:
        """The modules that a kind of NIC needs for the goal."""
        return ETHERNET_MODULES[kind] + (RDMA_MODULES[kind] if self.goal != "ethernet" else ())

    def host(self, kernel: Kernel | None) -> _compat.Host:
        return compat_host(self.facts, kernel["release"] if kernel else None)

    @functools.cached_property
    def running(self) -> Kernel | None:
        return running_kernel(self.facts)

    def is_live(self, kernel: Kernel) -> bool:
        """Whether the kernel is the one whose state the host shows."""
        return self.has_hardware and bool(kernel["running"])

    def offers(self, name: str) -> list[str] | None:
        """The versions of a package that the repositories offer, the one they prefer first; None when not asked for."""
        packages = self.facts.get("packages") or {}
        if name not in packages:
            return None
        answer = packages[name] or {}
        return [version for version in [answer.get("version"), *answer.get("versions", [])] if version]


def version_of(text: str | None) -> tuple[int, ...] | None:
    """The numbers of a version, without its epoch; None when there are none."""
    numbers = re.findall(r"\d{1,9}", re.sub(r"^\d+:", "", text or ""))
    return tuple(int(number) for number in numbers) or None


def higher(*versions: str | None) -> str | None:
    """The highest of the versions that are there."""
    known = [version for version in versions if version_of(version)]
    return max(known, key=lambda version: version_of(version) or (), default=None)


def is_below(version: str | None, minimum: str | None, exact: bool = True) -> bool:
    """Whether a version is known to be lower than the minimum. One that is not exact has only its first numbers."""
    have, need = version_of(version), version_of(minimum)
    if have is None or need is None:
        return False
    if not exact:
        need = need[: len(have)]
    longest = max(len(have), len(need))
    return have + (0,) * (longest - len(have)) < need + (0,) * (longest - len(need))


def sentence(*parts: str | None) -> str:
    """The parts that are there, joined as sentences."""
    return " ".join(part.strip().rstrip(".") + "." for part in parts if part and part.strip())
