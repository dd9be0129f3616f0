# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to what a host lacks: the rows of the compatibility tables, tried in the order that the policy allows.

A probe says *that* something is missing; only then are the tables asked *how* to bring it. Pure. Private.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.accelnet.mana.plugins.module_utils._reasons import REASONS
from ansible_collections.accelnet.mana.plugins.plugin_utils import _compat
from ansible_collections.accelnet.mana.plugins.plugin_utils._plan_parts import (
    Draft,
    Kernel,
    Obstacle,
    Step,
    Target,
    higher,
    is_below,
    sentence,
)


@dataclasses.dataclass(frozen=True)
class Option:
    """A row of the tables, and what stands in its way on this host."""

    row: _compat.Remedy
    obstacles: tuple[Obstacle, ...]
    unasked: tuple[str, ...]  # packages that the repositories have not been asked for
    needs: tuple[str, ...] = ()

    @property
    def allowable(self) -> bool:
        """Whether the policy alone stands in the way."""
        return all(obstacle.option for obstacle in self.obstacles)


_WITHOUT_NETVSC = Obstacle("uio_missing", "Or let DPDK drive the VF alone, without the synthetic path to fall back to.", "dpdk_mode")


class RowFields(t.TypedDict):
    """What a step takes over from its row."""

    packages: tuple[str, ...]
    metapackages: tuple[str, ...]
    suite: str | None
    version: str | None
    confidence: str
    proved_on: str


def from_row(row: _compat.Remedy) -> RowFields:
    return {
        "packages": row.packages,
        "metapackages": row.metapackages,
        "suite": row.suite,
        "version": row.version,
        "confidence": row.confidence,
        "proved_on": row.proved_on,
    }


def _packages(target: Target, packages: t.Iterable[str], minimum: str | None) -> tuple[list[Obstacle], list[str]]:
    """(obstacles, packages that were not asked for)."""
    obstacles, unasked = [], []
    for name in packages:
        versions = target.offers(name)
        if versions is None:
            unasked.append(name)
        elif not versions:
            obstacles.append(Obstacle("package_not_available", f"Enable the repository that carries {name}, or allow another way."))
        elif all(is_below(version, minimum) for version in versions):
            obstacles.append(Obstacle("package_not_available", f"{name} is offered in version {versions[0]}, {minimum} is needed."))
    return obstacles, unasked


def _signature(target: Target, kernel: Kernel) -> list[Obstacle]:
    """Whether the kernel would refuse a module that was built here."""
    platform = target.facts["platform"]
    probed = platform["sig_enforce"] is not None or platform["lockdown"] is not None
    # Secure Boot itself refuses no module; only where the kernel does not say what it enforces it is taken for a sign.
    enforced = platform["sig_enforce"] or platform["lockdown"] in ("integrity", "confidentiality") if probed else platform["secure_boot"]
    if (enforced or kernel["sig_force"]) and not target.policy["module_signing"]:
        return [Obstacle("secure_boot_refuses_unsigned", REASONS["secure_boot_refuses_unsigned"].remedy, "module_signing")]
    return []


def _headers(target: Target, kernel: Kernel) -> _compat.Remedy | None:
    """The packages that bring a kernel's headers."""
    return next(iter(_compat.remedies("headers", target.host(kernel))), None)


def _backport(target: Target, kernel: Kernel, row: _compat.Remedy) -> tuple[list[Obstacle], list[str], tuple[str, ...]]:
    """(obstacles, packages not asked for, needs) of building modules for a kernel."""
    obstacles = _signature(target, kernel)
    backport = t.cast(_compat.Backport, row.backport)
    for module in backport.modules:
        if kernel["modules"][module]["state"] == "builtin":
            obstacles.append(Obstacle("builtin_not_replaceable", REASONS["builtin_not_replaceable"].remedy))
    if backport.status == "untested" and not target.policy["allow_untested_backport"]:
        obstacles.append(Obstacle("backport_untested", REASONS["backport_untested"].remedy, "allow_untested_backport"))
    if target.facts["platform"].get("allow_unsupported_modules") is False:
        obstacles.append(Obstacle("suse_unsupported_module", REASONS["suse_unsupported_module"].remedy))
    absent, unasked = _packages(target, backport.donor_packages, None)
    obstacles += absent
    needs = tuple(f"package:{name}" for name in backport.donor_packages)
    if kernel["headers"]:
        return obstacles, unasked, needs
    headers = _headers(target, kernel)
    if headers is None:
        return [*obstacles, Obstacle("headers_missing", REASONS["headers_missing"].remedy)], [], ()
    missing, unasked_headers = _packages(target, headers.packages, None)
    if missing:
        obstacles.append(Obstacle("headers_missing", missing[0].remedy))
    return obstacles, [*unasked, *unasked_headers], (*needs, *(f"package:{name}" for name in headers.packages))


def _allowed(target: Target, kernel: Kernel | None, row: _compat.Remedy) -> list[Obstacle]:
    """What the policy says to a way."""
    obstacles = []
    if row.way == "source":
        if not target.policy["allow_source_builds"]:
            obstacles.append(Obstacle("not_allowed_by_policy", "Allow builds from source.", "allow_source_builds"))
    elif kernel is not None and row.way not in target.policy["driver_sources"]:
        obstacles.append(Obstacle("not_allowed_by_policy", f"Add '{row.way}' to driver_sources.", "driver_sources"))
    if row.way == "kernel" and target.policy["target_kernels"] not in ("running", "default"):
        # Another kernel does not make this one ready.
        obstacles.append(Obstacle("not_allowed_by_policy", "Let the target be the kernel that boots.", "target_kernels"))
    if row.way == "kernel" and kernel is not None and target.is_live(kernel) and not target.policy["allow_reboot"]:
        obstacles.append(Obstacle("not_allowed_by_policy", "Allow the reboot that a new kernel needs.", "allow_reboot"))
    return obstacles


def options(
    target: Target,
    capability: str,
    kernel: Kernel | None,
    minimum: str | None = None,
    ways: t.Collection[str] | None = None,
    beside: t.Collection[str] = (),
) -> list[Option]:
    """Every way to a capability, best first, with what stands in its way. ``beside``: all modules that are missing."""
    host = target.host(kernel)
    found = []
    for row in _compat.remedies(capability, host):
        if (ways is not None and row.way not in ways) or _is_installed(kernel, row):
            continue
        obstacles = [Obstacle(block.reason, block.remedy) for block in _compat.blocks(capability, host, row.way)]
        obstacles += _allowed(target, kernel, row)
        needs: tuple[str, ...] = tuple(f"package:{name}" for name in row.packages)
        if row.way == "backport" and kernel is not None:
            hard, unasked, needs = _backport(target, kernel, row)
            obstacles += hard
        else:
            absent, unasked = _packages(target, row.packages, higher(minimum, row.minimum))
            obstacles += absent
        found.append(Option(row, tuple(obstacles), tuple(unasked), needs))
    preferred = list(target.policy["driver_sources"]) if kernel is not None else ["package", "rule", "source"]

    def rank(option: Option) -> tuple[int, int]:
        way = preferred.index(option.row.way) if option.row.way in preferred else len(preferred)
        # Of several kernels the one that brings most of what is missing.
        return way, -len(set(option.row.kernel_provides) & set(beside))

    return sorted(found, key=rank)


def report_dead_end(target: Target, draft: Draft, subject: str, capability: str, kernel: Kernel | None, tried: list[Option]) -> None:
    """Block a subject: with what the policy could allow, and with what is in the way of the ways that it allows."""
    host = target.host(kernel)
    support = _compat.supported(host)
    obstacles = [obstacle for option in tried if option.allowable for obstacle in option.obstacles]
    if not obstacles and support.status == "unsupported":
        obstacles = [Obstacle(support.reason or "unsupported_os", support.remedy or REASONS["unsupported_os"].remedy)]
    elif not obstacles:
        ways = ("package", "kernel", "backport", "source")
        obstacles = [Obstacle(block.reason, block.remedy) for way in ways for block in _compat.blocks(capability, host, way)]
    for option in tried:
        if all(obstacle.option is None for obstacle in option.obstacles):
            obstacles += option.obstacles
    if obstacles:
        draft.block(subject, *obstacles)
    else:
        draft.block_for("facts_unknown" if None in (host.distribution, host.architecture) else "no_known_remedy", subject)


def _is_installed(kernel: Kernel | None, row: _compat.Remedy) -> bool:
    """Whether a package of modules is there already, and so brings nothing: the kernel has others that come with it."""
    if kernel is None:
        return False
    modules = [kernel["modules"][name] for name in row.shown_by]
    return any(module["state"] == "module" and module["origin"] == "inbox" for module in modules)


def route_modules(
    target: Target,
    draft: Draft,
    kernel: Kernel,
    missing: t.Mapping[str, str],
    ways: t.Collection[str] | None = None,
    failed: bool = False,
) -> None:
    """Steps, or blocks, for the modules that a kernel lacks. ``missing``: module -> reason code.

    ``failed``: they are there, but do not work, so that only what is newer helps.
    """
    release = kernel["release"]
    chosen: dict[str, Option] = {}
    for module in missing:
        tried = options(target, f"module:{module}", kernel, ways=ways, beside=missing)
        if failed:
            tried = [option for option in tried if not _offers_nothing_newer(target, kernel, option.row)]
        usable = [option for option in tried if not option.obstacles]
        if usable:
            chosen[module] = usable[0]
        else:
            report_dead_end(target, draft, f"module:{module}@{release}", f"module:{module}", kernel, tried)
            if module == "uio_hv_generic":
                draft.block(f"module:{module}@{release}", _WITHOUT_NETVSC)
    # One new kernel makes steps for the old one pointless where it brings the same modules.
    for option in [option for option in chosen.values() if option.row.way == "kernel"][:1]:
        for module in chosen:
            if module in option.row.kernel_provides:
                chosen[module] = option
    groups: dict[tuple[str, ...], list[str]] = {}
    rows: dict[tuple[str, ...], Option] = {}
    for module, option in chosen.items():
        key = (option.row.way, *option.row.packages)
        groups.setdefault(key, []).append(module)
        rows.setdefault(key, option)
    for key, modules in groups.items():
        option = rows[key]
        draft.unknown_packages.update(option.unasked)
        draft.steps.append(_module_step(target, kernel, option, modules, missing, failed))


def _offers_nothing_newer(target: Target, kernel: Kernel, row: _compat.Remedy) -> bool:
    """Whether a way to another kernel is known to lead to none that is newer."""
    versions = [version for name in row.packages for version in target.offers(name) or []]
    return row.way == "kernel" and bool(versions) and not any(is_below(kernel["release"], version) for version in versions)


def _module_step(target: Target, kernel: Kernel, option: Option, modules: list[str], missing: t.Mapping[str, str], failed: bool) -> Step:
    row, release = option.row, kernel["release"]
    reasons = sorted({missing[module] for module in modules})
    fault = f"{', '.join(modules)} of kernel {release} failed" if failed else f"Kernel {release} lacks {', '.join(modules)}"
    live = target.is_live(kernel)
    provides = [f"module:{module}@{release}" for module in modules]
    if row.way == "kernel":
        provides = [f"kernel:{row.packages[0]}"] + [f"module:{module}@{row.packages[0]}" for module in row.kernel_provides]
    donor = None
    fields = from_row(row)
    if row.way == "backport" and row.backport:
        modules = list(row.backport.modules)
        provides = [f"module:{module}@{release}" for module in modules]
        donor = {"version": row.backport.donor, "packages": list(row.backport.donor_packages), "archive": row.backport.donor_archive}
        # What keeps the headers of later kernels coming, so that dkms can build for these too.
        headers = _headers(target, kernel)
        fields["metapackages"] = headers.metapackages if headers else ()
    if live and row.way != "kernel":
        provides += [f"loaded:{module}" for module in modules]
    return Step(
        role="nic_driver",
        action=row.way,
        subject=row.packages[0] if row.way == "kernel" else release,
        kernel=release,
        provides=tuple(provides),
        reasons=tuple(reasons),
        why=sentence(fault, row.note),
        needs=option.needs,
        **fields,
        reboot=row.reboot and target.has_hardware,
        donor=donor,
    )
