# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where this machine gets Debian's packages from: its own apt configuration, with only the suite replaced."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.vm.errors import LabError

_SUITES = frozenset("buster bullseye bookworm trixie forky duke sid oldoldstable oldstable stable testing unstable".split())
_RENAMED_SECURITY = frozenset({"buster"})  # called <suite>/updates until then
# What apt needs to know to get through: proxies, certificates, patience. Not what it does with the files afterwards.
_REACHING = re.compile(
    r'^Acquire::(https?|ftp|socks\w*|proxy\w*|Retries|Queue-Mode|Check-Valid-Until|AllowInsecure\w*)\b.* ".+";$', re.IGNORECASE
)


class MirrorError(LabError):
    """This machine's apt sources name no Debian archive."""


@dataclass(frozen=True)
class Source:
    """One archive in apt's terms: `deb [options] uri suite components`."""

    uri: str
    suite: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def serves_debian(self) -> bool:
        """Judged by the suite: other vendors' archives use other names."""
        return re.split("[-/]", self.suite)[0] in _SUITES

    @property
    def serves_security(self) -> bool:
        """True for `bookworm-security` and `buster/updates`."""
        return self.suite.endswith(("-security", "/updates"))


@dataclass(frozen=True)
class Mirror:
    """The two archives that every Debian release comes from."""

    main: Source
    security: Source

    def lines(self, suite: str, *, backports: bool = False) -> list[str]:
        """sources.list lines for a release such as `trixie`, with updates and security, as a stock system has them."""
        suites = [(self.main, suite), (self.main, f"{suite}-updates")]
        if backports:
            suites.append((self.main, f"{suite}-backports"))
        suites.append((self.security, f"{suite}/updates" if suite in _RENAMED_SECURITY else f"{suite}-security"))
        return [_line(source, name) for source, name in suites]


def machine_mirror(etc: Path = Path("/etc/apt"), environment: Mapping[str, str] = os.environ) -> Mirror:
    """The archives of this machine, or those that $LAB_MIRROR and $LAB_SECURITY_MIRROR name.

    Raises MirrorError when neither names one, as on a machine that is not Debian.
    """
    sources = [source for source in read_sources(etc) if source.serves_debian]
    main = _chosen(environment.get("LAB_MIRROR"), [source for source in sources if not source.serves_security])
    security = _chosen(environment.get("LAB_SECURITY_MIRROR"), [source for source in sources if source.serves_security])
    if main is None or security is None:
        raise MirrorError(
            "this machine's apt sources name no Debian archive: set LAB_MIRROR and LAB_SECURITY_MIRROR to the addresses of "
            "mirrors of debian and debian-security"
        )
    return Mirror(main, security)


def read_sources(etc: Path) -> list[Source]:
    """Every enabled binary archive in sources.list and sources.list.d, in apt's order, one Source for each suite."""
    files = [etc / "sources.list"]
    if (etc / "sources.list.d").is_dir():
        files += sorted((etc / "sources.list.d").iterdir())
    found: list[Source] = []
    for path in files:
        if path.suffix == ".list" and path.is_file():
            found += _one_line(path.read_text(encoding="utf-8", errors="replace"))
        elif path.suffix == ".sources" and path.is_file():
            found += _deb822(path.read_text(encoding="utf-8", errors="replace"))
    return found


def apt_options() -> list[str]:
    """This machine's apt settings that it needs to reach its archives, each as `Name "value";`."""
    shown = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    return reaching(shown)


def reaching(dump: str) -> list[str]:
    """Those lines of `apt-config dump` that decide how an archive is reached."""
    return [line for line in dump.splitlines() if _REACHING.match(line)]


def _chosen(override: str | None, found: list[Source]) -> Source | None:
    if override:
        return Source(override, "")
    return found[0] if found else None


def _line(source: Source, suite: str) -> str:
    options = " ".join(f"{name}={value}" for name, value in sorted(source.options.items()))
    return " ".join(["deb", *([f"[{options}]"] if options else []), source.uri, suite, "main"])


def _kept_options(options: Mapping[str, str]) -> dict[str, str]:
    """Options that still make sense for another suite.

    A keyring of Debian's own is left out: mmdebstrap finds the one for the suite, and a machine's may be for its release only.
    """
    kept = {}
    for name, value in options.items():
        if (name == "signed-by" and value.startswith("/") and "debian-archive-" not in value) or (name == "trusted" and value == "yes"):
            kept[name] = value
    return kept


def _one_line(text: str) -> Iterator[Source]:
    """The format of sources.list(5) that has one archive in each line."""
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)", line)
        if match:
            options = dict(option.split("=", 1) for option in (match[1] or "").split() if "=" in option)
            yield Source(match[2], match[3], _kept_options(options))


def _deb822(text: str) -> Iterator[Source]:
    """The format of sources.list(5) that has stanzas of fields; a field goes on in lines that start with white space."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t"):
                fields[name] = fields.get(name, "") + "\n" + line.strip()
            elif ":" in line:
                name, value = line.split(":", 1)
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in ("no", "false"):
            continue
        options = _kept_options({key: fields[key] for key in ("signed-by", "trusted") if key in fields})
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(uri, suite, options)
