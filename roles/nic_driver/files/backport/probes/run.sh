#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# run.sh KDIR OUT: asks the headers of a kernel what they have and writes the answers as a header to OUT.
#
# KDIR is the folder that a kernel's modules are built with (/lib/modules/<release>/build). A probe is the text between
# `#ifdef PROBE_<NAME>` and its `#endif` in one of the *.c files here: OUT gets `#define HAS_<NAME>` 1 where it compiles
# and 0 where it does not; and DONOR_<NAME> for each line of the list `donor`. Versions of kernels tell nothing: stable and distribution kernels carry changes of newer ones.
#
# kbuild compiles one file, only to learn the compiler and its flags; the probes then call that compiler directly, which
# is ten times as fast. Two probes are controls (control.c). Were a path or a flag wrong, then every probe would say 0
# and a driver with all adapters might even build, so a control that answers wrongly ends this.
set -eu

die() {
	echo "probes: $*" >&2
	exit 1
}

[ $# -eq 2 ] || die "usage: $0 KDIR OUT"
kdir=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
[ -e "$kdir/Makefile" ] || die "$kdir has no Makefile: are the headers of the kernel installed?"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The folder that kbuild compiles in is the kernel's up to 6.12 and the module's later; its -I may be relative to it.
cat >"$work/Kbuild" <<'EOF'
obj-m := flags.o
$(shell pwd >$(KBUILD_EXTMOD)/folder)
EOF
echo '#include <linux/module.h>' >"$work/flags.c"
make -s -C "$kdir" M="$work" flags.o >"$work/log" 2>&1 || {
	cat "$work/log" >&2
	die "$kdir cannot build a module at all: see above"
}
folder=$(cat "$work/folder")
# The recorded command is make's text: `cmd_x := CC FLAGS -c -o x.o x.c ; ...`, or `savedcmd_x := ` in newer kernels.
# shellcheck disable=SC2016 # the $ are make's
compiler=$(sed -n '1{/^[a-z]*cmd_[^ ]* := .* -c -o /!d;s/^[a-z]*cmd_[^ ]* := *//;s/ -c -o .*//;s/ -Wp,-MMD,[^ ]*//;s/\$(pound)/#/g;s/\$\$/$/g;p;}' "$work/.flags.o.cmd")
[ -n "$compiler" ] || die "the compiler's command line was not found in what kbuild recorded"

# Errors decide, and so do warnings; not those about the form of the probes themselves.
strict='-fsyntax-only -Werror -Wno-unused -Wno-missing-prototypes -Wno-missing-declarations'

# worker NUMBER OF: every OF-th probe; one line `NAME 0|1` each.
worker() {
	awk -v n="$1" -v of="$2" 'NR % of == n' "$work/list" | while read -r name file; do
		# eval: the recorded flags are quoted for a shell.
		if (cd "$folder" && eval "$compiler $strict -DPROBE_$name \"\$file\"") >"$work/$name.log" 2>&1; then
			echo "$name 1"
		else
			echo "$name 0"
		fi
	done >"$work/answers.$1"
}

for file in "$here"/*.c; do
	sed -n "s|^#ifdef PROBE_\([A-Z0-9_]*\)\$|\1 $file|p" "$file"
done >"$work/list"
workers=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
number=0
while [ "$number" -lt "$workers" ]; do
	worker "$number" "$workers" &
	number=$((number + 1))
done
wait
sort "$work"/answers.* >"$work/answers"

# What the donor has is text in its files.
grep -v '^#' "$here/donor" | while read -r name file expression; do
	[ -e "$here/../donor/$file" ] || die "the donor has no $file"
	echo "#define DONOR_$name $(grep -c -m 1 -e "$expression" "$here/../donor/$file" || true)"
done >"$work/donor"

[ "$(wc -l <"$work/answers")" -eq "$(wc -l <"$work/list")" ] || die "some probes gave no answer"
grep -qx 'CONTROL_PRESENT 1' "$work/answers" || {
	cat "$work/CONTROL_PRESENT.log" >&2
	die "what every kernel has was not found: see above"
}
grep -qx 'CONTROL_ABSENT 0' "$work/answers" || die "what no kernel has was found: the compiler accepts anything"

{
	echo '/* SPDX-License-Identifier: GPL-2.0 */'
	echo '/* Written by probes/run.sh: what the headers of this kernel have. */'
	sed -n 's/^#define UTS_RELEASE /#define PROBED_RELEASE /p' "$kdir/include/generated/utsrelease.h"
	sed -n '/^CONTROL_/!s/^\([A-Z0-9_]*\) \([01]\)$/#define HAS_\1 \2/p' "$work/answers"
	cat "$work/donor"
} >"$out.new"
grep -q '^#define PROBED_RELEASE ' "$out.new" || die "$kdir does not tell its release"
mv "$out.new" "$out"
if [ -n "${PROBE_LOGS:-}" ]; then # for who writes a probe: why did it not compile?
	mkdir -p "$PROBE_LOGS"
	cp "$work"/*.log "$PROBE_LOGS/"
fi
echo "probes: $(grep -c '^#define HAS_.* 1$' "$out") of $(grep -c '^#define HAS_' "$out") present in $(sed -n 's/^#define PROBED_RELEASE //p' "$out")"
