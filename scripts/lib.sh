# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# Sourced by every script here: strict mode, the checkout as working directory, and what they share.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"

VENV="$ROOT/.venv"
CACHE="$ROOT/.cache"
COLLECTIONS="$CACHE/collections"
export ANSIBLE_CONFIG="$ROOT/ansible.cfg" ANSIBLE_COLLECTIONS_PATH="$COLLECTIONS" ANSIBLE_HOME="$CACHE/ansible"
# A user's own settings must not change what a test sees.
unset PYTHONPATH PYTHONHOME

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# as_root COMMAND...: as root, by sudo where that asks for no password; otherwise fails.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_apt() {
  command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

# apt_install PACKAGE...: installs what is missing, refreshing the package lists only when that is needed.
apt_install() {
  local options=(-qq -y --no-install-recommends -o "DPkg::Lock::Timeout=300")
  say "installing system packages: $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install "$@" >/dev/null 2>&1 && return
  as_root apt-get -qq update || true
  as_root env DEBIAN_FRONTEND=noninteractive apt-get "${options[@]}" install "$@" >/dev/null
}

# python_version PYTHON: "3.11", or nothing when it does not start (a pyenv shim without a version behind it).
python_version() {
  "$1" -c 'import sys; sys.stdout.write("%d.%d" % sys.version_info[:2])' 2>/dev/null || true
}

# at_least VERSION MINIMUM, both "major.minor"
at_least() {
  [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

# pythons: "version path" of every CPython 3 found, one per version, oldest first: those on PATH, then pyenv's.
pythons() {
  local candidate folder folders version
  IFS=: read -ra folders <<<"$PATH"
  {
    for folder in "${folders[@]}"; do printf '%s\n' "$folder"/python3 "$folder"/python3.?{,?}; done
    printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3
  } | while read -r candidate; do
    case $candidate in */shims/* | "$VENV"/*) continue ;; esac
    [ -x "$candidate" ] || continue
    version=$(python_version "$candidate")
    if at_least "$version" 3.0; then printf '%s %s\n' "$version" "$candidate"; fi
  done | sort -s -V -k1,1 -u
}

# find_python MINIMUM [MAXIMUM]: path of the newest one in that range; fails when there is none.
find_python() {
  local version path found=
  while read -r version path; do
    at_least "$version" "$1" && at_least "${2:-99.0}" "$version" && found=$path
  done < <(pythons)
  [ -n "$found" ] && printf '%s\n' "$found"
}
