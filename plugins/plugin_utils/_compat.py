# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compatibility tables (compat/*.yml): which way brings a capability to a host, which ways are shut, and limits.

The tables are a prior: they name remedies for what a probe found missing, they never say that something is there.
Capabilities: ``module:<name>``, ``libmana``, ``rdma_core``, ``pmd:<name>``, ``testpmd``, ``headers``, ``vf_unmanaged``.
compat/schema.json describes the files in full; here only what could mislead a decision is checked.

Pure apart from reading its own files. Private to this collection.
"""

from __future__ import annotations

import functools
import pathlib
import re
import typing as t

import yaml

DIRECTORY = pathlib.Path(__file__).with_name("compat")
CONFIDENCES = ("verified", "documented", "third_party", "inferred", "unknown")
PROOFS = ("none", "recorded", "lab", "azure")
WAYS = ("package", "kernel", "backport", "source", "rule")
BLOCKED_WAYS = ("inbox", "package", "kernel", "backport", "source")

_DEB_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_COMPARISON = re.compile(r"^(>=|<=|>|<)?(\d+(?:\.\d+)*)$")
_VERSION_ID = re.compile(r"^\d{1,9}(\.\d{1,9}){0,4}\Z")


class CompatError(ValueError):
    """A file of the tables is not what it has to be: names the file and the row."""

    def __init__(self, file: str, row: str, message: str) -> None:
        super().__init__(f"{file}: {row}: {message}")
        self.file = file
        self.row = row
        self.message = message


class Host(t.NamedTuple):
    """What the tables are asked with: os-release's ID, ID_LIKE and VERSION_ID, machine, target kernel. None: unknown."""

    distribution: str | None = None
    like: tuple[str, ...] = ()
    release: str | None = None
    architecture: str | None = None
    kernel: str | None = None


class Backport(t.NamedTuple):
    """Modules that are built from a newer kernel's source."""

    status: str
    donor: str
    modules: tuple[str, ...]
    lost: tuple[str, ...]
    donor_packages: tuple[str, ...] = ()
    """What brings the donor's source to the host; none where the user has to name a source."""
    donor_archive: str | None = None
    """Where those packages put it."""


class Remedy(t.NamedTuple):
    """A way to a capability; names of packages are filled in for the host."""

    id: str
    way: str
    capabilities: tuple[str, ...]
    packages: tuple[str, ...]
    metapackages: tuple[str, ...]
    suite: str | None
    minimum: str | None
    versions: tuple[str, ...]
    kernel_provides: tuple[str, ...]
    shown_by: tuple[str, ...]  # modules that show that the package is there already, so that it cannot bring more
    backport: Backport | None
    reboot: bool
    note: str | None
    source: tuple[str, ...]
    confidence: str
    proved_on: str

    @property
    def version(self) -> str | None:
        """The version to build, when this is a build from source."""
        return self.versions[0] if self.versions else None


class Block(t.NamedTuple):
    """Ways to capabilities that are known not to work, and what the user can do."""

    id: str
    capabilities: tuple[str, ...]
    ways: tuple[str, ...]
    reason: str
    remedy: str
    source: tuple[str, ...]
    confidence: str
    proved_on: str


class Support(t.NamedTuple):
    """Whether this collection supports a distribution; ``listed_by`` are the pages of Microsoft that name the release."""

    status: t.Literal["supported", "unsupported", "unknown"]
    reason: str | None = None
    remedy: str | None = None
    listed_by: tuple[str, ...] = ()


class _Family(t.NamedTuple):
    package_manager: str
    flavour: re.Pattern[str] | None


class _Releases:
    """Alternatives, each a prefix ("9.3") or comparisons (">=9.3,<10")."""

    def __init__(self, file: str, row: str, specification: t.Any) -> None:
        alternatives = _listed(specification)
        self._alternatives: list[list[tuple[str, tuple[int, ...]]]] = []
        for alternative in alternatives:
            found = [_COMPARISON.match(part) for part in str(alternative).split(",")]
            if not isinstance(alternative, str) or not all(found):
                raise CompatError(file, row, f"the release {alternative!r} is no version or comparison, or not quoted")
            self._alternatives.append([(match.group(1) or "", _version(match.group(2))) for match in found if match])

    def match(self, release: tuple[int, ...] | None) -> bool:
        if release is None:
            return False
        return any(all(_compare(release, *part) for part in parts) for parts in self._alternatives)


class _Match(t.NamedTuple):
    distributions: tuple[str, ...] | None
    families: tuple[str, ...] | None
    releases: _Releases | None
    architectures: tuple[str, ...] | None
    kernel: re.Pattern[str] | None

    def match(self, host: Host, tables: _Tables) -> bool:
        """Whether all conditions hold; what is not known of the host meets no condition."""
        return (
            (self.distributions is None or host.distribution in self.distributions)
            and (self.families is None or tables.family(host) in self.families)
            and (self.architectures is None or host.architecture in self.architectures)
            and (self.releases is None or self.releases.match(tables.release(host)))
            and (self.kernel is None or (host.kernel is not None and bool(self.kernel.search(host.kernel))))
        )


_Row = t.TypeVar("_Row", Remedy, Block)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _compare(release: tuple[int, ...], operator: str, wanted: tuple[int, ...]) -> bool:
    if operator == ">=":
        return release >= wanted
    if operator == "<=":
        return release <= wanted
    if operator == ">":
        return release > wanted
    if operator == "<":
        return release < wanted
    return release[: len(wanted)] == wanted


def _listed(value: t.Any) -> list[t.Any]:
    return value if isinstance(value, list) else [value]


def _texts(value: t.Any) -> tuple[str, ...]:
    return tuple(str(entry) for entry in _listed(value))


def _pattern(file: str, row: str, text: t.Any) -> re.Pattern[str] | None:
    if text is None:
        return None
    try:
        return re.compile(text)
    except (re.error, TypeError) as error:
        raise CompatError(file, row, f"{text!r} is no regular expression: {error}") from None


def read(file: str, directory: pathlib.Path = DIRECTORY) -> dict[str, t.Any]:
    """A file of the tables as it is. Raises CompatError."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # The loader is a safe one; yaml.safe_load would take the slow one that is written in Python.
        data = yaml.load((directory / file).read_bytes(), Loader=loader)  # noqa: S506
    except (OSError, yaml.YAMLError) as error:
        raise CompatError(file, "the file", f"cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise CompatError(file, "the file", "is not a mapping")
    return data


class _Reader:
    """The rows of one file, checked."""

    def __init__(self, file: str, directory: pathlib.Path) -> None:
        self.file = file
        self.data = read(file, directory)

    def part(self, name: str, kind: type) -> t.Any:
        value = self.data.get(name)
        if not isinstance(value, kind):
            raise CompatError(self.file, name, f"is missing or not a {kind.__name__}")
        return value

    def rows(self, name: str) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
        """(how to call the row, row) of each row that has an id."""
        for number, row in enumerate(self.part(name, list), 1):
            if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                raise CompatError(self.file, f"{name} row {number}", "is not a mapping with an id")
            yield f"row {row['id']}", row

    def sources(self, label: str, row: t.Mapping[str, t.Any]) -> tuple[str, ...]:
        source = row.get("source")
        if not isinstance(source, list) or not source or not all(isinstance(key, str) and key for key in source):
            raise CompatError(self.file, label, "has no source")
        self.choice(label, row, "confidence", CONFIDENCES)
        return tuple(source)

    def choice(self, label: str, row: t.Mapping[str, t.Any], key: str, allowed: t.Sequence[str]) -> str:
        value = row.get(key)
        if value not in allowed:
            raise CompatError(self.file, label, f"{key} is {value!r}, must be one of: {', '.join(allowed)}")
        return str(value)

    def text(self, label: str, row: t.Mapping[str, t.Any], key: str) -> str:
        value = row.get(key)
        if not isinstance(value, str) or not value.strip():
            raise CompatError(self.file, label, f"has no {key}")
        return value

    def texts(self, label: str, row: t.Mapping[str, t.Any], key: str, required: bool = False) -> tuple[str, ...]:
        value = row.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value) or (required and not value):
            raise CompatError(self.file, label, f"{key} is {value!r}, must be a list of texts")
        return tuple(value)

    def match(self, label: str, row: t.Mapping[str, t.Any]) -> _Match:
        match = row.get("match")
        if not isinstance(match, dict):
            raise CompatError(self.file, label, "has no match")
        unknown = sorted(set(match) - {"distribution", "family", "release", "architecture", "kernel"})
        if unknown:
            raise CompatError(self.file, label, f"match has an unknown condition: {', '.join(map(str, unknown))}")
        return _Match(
            distributions=_texts(match["distribution"]) if "distribution" in match else None,
            families=_texts(match["family"]) if "family" in match else None,
            releases=_Releases(self.file, label, match["release"]) if "release" in match else None,
            architectures=_texts(match["architecture"]) if "architecture" in match else None,
            kernel=_pattern(self.file, label, match.get("kernel")),
        )

    def remedy(self, label: str, row: t.Mapping[str, t.Any]) -> Remedy:
        way = self.choice(label, row, "way", WAYS)
        kernel_provides = self.texts(label, row, "kernel_provides", required=way == "kernel")
        backport = self._backport(label, row) if way == "backport" else None
        modules = backport.modules if backport else kernel_provides
        capabilities = tuple(f"module:{name}" for name in modules) or self.texts(label, row, "capabilities", required=True)
        packages = self.texts(label, row, "packages", required=way in ("package", "kernel"))
        return Remedy(
            id=row["id"],
            way=way,
            capabilities=capabilities,
            packages=packages,
            metapackages=self.texts(label, row, "metapackages"),
            suite=row.get("suite"),
            minimum=row.get("minimum"),
            versions=self.texts(label, row, "versions", required=way == "source"),
            kernel_provides=kernel_provides,
            shown_by=self.texts(label, row, "shown_by"),
            backport=backport,
            reboot=bool(row.get("reboot")),
            note=row.get("note"),
            source=self.sources(label, row),
            confidence=str(row["confidence"]),
            proved_on=self.choice(label, row, "proved_on", PROOFS),
        )

    def _backport(self, label: str, row: t.Mapping[str, t.Any]) -> Backport:
        backport = row.get("backport")
        if not isinstance(backport, dict):
            raise CompatError(self.file, label, "has no backport")
        return Backport(
            status=self.choice(label, backport, "status", ("tested", "untested", "impossible")),
            donor=self.text(label, backport, "donor"),
            modules=self.texts(label, backport, "modules", required=True),
            lost=self.texts(label, backport, "lost"),
            donor_packages=self.texts(label, backport, "donor_packages"),
            donor_archive=self.text(label, backport, "donor_archive") if "donor_archive" in backport else None,
        )

    def block(self, label: str, row: t.Mapping[str, t.Any]) -> Block:
        ways = self.texts(label, row, "ways", required=True)
        for way in ways:
            self.choice(label, {"way": way}, "way", BLOCKED_WAYS)
        return Block(
            id=row["id"],
            capabilities=self.texts(label, row, "capabilities", required=True),
            ways=ways,
            reason=self.text(label, row, "reason"),
            remedy=self.text(label, row, "remedy"),
            source=self.sources(label, row),
            confidence=str(row["confidence"]),
            proved_on=self.choice(label, row, "proved_on", PROOFS),
        )


class _Tables:
    """All files, read and checked."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.remedies: dict[str, list[tuple[_Match, Remedy]]] = {}
        self.blocks: dict[str, list[tuple[_Match, Block]]] = {}
        for file in ("kernel.yml", "userspace.yml"):
            reader = _Reader(file, directory)
            for label, row in reader.rows("remedies"):
                self._add(self.remedies, reader.match(label, row), reader.remedy(label, row))
            for label, row in reader.rows("blocks"):
                self._add(self.blocks, reader.match(label, row), reader.block(label, row))
        self._read_distributions(_Reader("distributions.yml", directory))
        self._read_limits(_Reader("limits.yml", directory))

    @staticmethod
    def _add(index: dict[str, list[tuple[_Match, _Row]]], match: _Match, row: _Row) -> None:
        for capability in row.capabilities:
            index.setdefault(capability, []).append((match, row))

    def _read_distributions(self, reader: _Reader) -> None:
        file = reader.file
        self.families: dict[str, _Family] = {}
        self._family_of: dict[str, str] = {}
        self._family_like: dict[str, str] = {}
        for name, family in reader.part("families", dict).items():
            label = f"family {name}"
            self.families[name] = _Family(reader.text(label, family, "package_manager"), _pattern(file, label, family.get("flavour")))
            self._family_of.update(dict.fromkeys(reader.texts(label, family, "distributions", required=True), name))
            self._family_like.update(dict.fromkeys(reader.texts(label, family, "like"), name))
        self._aliases: dict[str, dict[str, str]] = reader.part("release_aliases", dict)
        self.supported = [
            (reader.texts(label, row, "distributions", required=True), _Releases(file, label, row.get("releases")))
            for label, row in reader.rows("supported")
        ]
        self.unsupported = [
            (reader.match(label, row), reader.text(label, row, "reason"), reader.text(label, row, "remedy"))
            for label, row in reader.rows("unsupported")
            if reader.sources(label, row)
        ]
        self.lists: list[tuple[str, dict[str, _Releases]]] = [
            (page["source"], {name: _Releases(file, page["source"], releases) for name, releases in page["releases"].items()})
            for page in reader.part("microsoft", list)
        ]

    def _read_limits(self, reader: _Reader) -> None:
        self.limits: dict[str, t.Any] = {}
        for name, row in reader.part("limits", dict).items():
            if not isinstance(row, dict) or "value" not in row:
                raise CompatError(reader.file, f"limit {name}", "has no value")
            reader.sources(f"limit {name}", row)
            self.limits[name] = row["value"]

    def family(self, host: Host) -> str | None:
        if host.distribution in self._family_of:
            return self._family_of[host.distribution]
        return next((self._family_like[name] for name in host.like if name in self._family_like), None)

    def release(self, host: Host) -> tuple[int, ...] | None:
        text = self._aliases.get(host.distribution or "", {}).get(host.release or "", host.release)
        return _version(text) if text is not None and _VERSION_ID.match(text) else None

    def fill(self, remedy: Remedy, host: Host) -> Remedy | None:
        """The remedy with the names of its packages, or None where the host does not show what they need."""
        if not any("{" in name for name in remedy.packages + remedy.metapackages):
            return remedy
        values = {"kernel": host.kernel, "deb_arch": _DEB_ARCHITECTURES.get(host.architecture or "")}
        family = self.families.get(self.family(host) or "")
        found = family.flavour.search(host.kernel) if family and family.flavour and host.kernel else None
        values["flavour"] = found.group(1) if found else None
        known = {name: value for name, value in values.items() if value is not None}
        try:
            packages = tuple(name.format(**known) for name in remedy.packages)
        except KeyError:
            return None
        # A kernel of unknown flavour can be helped today; only later updates lack their metapackage.
        metapackages = tuple(name.format(**known) for name in remedy.metapackages if "{flavour}" not in name or "flavour" in known)
        return remedy._replace(packages=packages, metapackages=metapackages)


@functools.cache
def load(directory: pathlib.Path = DIRECTORY) -> _Tables:
    """The tables of a directory. Raises CompatError."""
    return _Tables(directory)


def family(host: Host) -> str | None:
    """The family of distributions that the host belongs to."""
    return load().family(host)


def package_manager(host: Host) -> str | None:
    """The package manager of the host's family."""
    found = load().families.get(family(host) or "")
    return found.package_manager if found else None


def supported(host: Host) -> Support:
    """Whether the host's distribution is supported."""
    tables = load()
    release = tables.release(host)
    listed_by = tuple(
        source for source, releases in tables.lists if host.distribution in releases and releases[host.distribution].match(release)
    )
    for match, reason, remedy in tables.unsupported:
        if match.match(host, tables):
            return Support("unsupported", reason, remedy, listed_by)
    for distributions, releases in tables.supported:
        if host.distribution in distributions and releases.match(release):
            return Support("supported", listed_by=listed_by)
    return Support("unknown", listed_by=listed_by)


@functools.lru_cache(maxsize=4096)
def _remedies(capability: str, host: Host) -> tuple[Remedy, ...]:
    tables = load()
    found = (tables.fill(remedy, host) for match, remedy in tables.remedies.get(capability, ()) if match.match(host, tables))
    return tuple(remedy for remedy in found if remedy is not None)


def remedies(capability: str, host: Host) -> list[Remedy]:
    """The ways to a capability, in the order of the tables."""
    return list(_remedies(capability, host))


@functools.lru_cache(maxsize=4096)
def _blocks(capability: str, host: Host) -> tuple[Block, ...]:
    tables = load()
    return tuple(block for match, block in tables.blocks.get(capability, ()) if match.match(host, tables))


def blocks(capability: str, host: Host, way: str) -> list[Block]:
    """What is known to be in the way of a way to a capability."""
    return [block for block in _blocks(capability, host) if way in block.ways]


def limit(name: str) -> t.Any:
    """A number, or version, that decisions need. Raises CompatError for a name that does not exist."""
    limits = load().limits
    if name not in limits:
        raise CompatError("limits.yml", f"limit {name}", "does not exist")
    return limits[name]
