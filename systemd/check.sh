#!/bin/sh
# Let systemd read and score every unit of this folder, alone, with each of its drop-ins and with all of them.
# Nothing need be installed for that. A score of systemd-analyze security counts from 0, shut, to 10, open.
set -eu
LC_ALL=C
export LC_ALL
folder=$(cd "$(dirname "$0")" && pwd)
most=20 # tenths
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
bad=""

judge() { # UNIT SAID DROP-IN...
    unit=$1 said=$2
    shift 2
    rm -rf "$scratch/$unit" "$scratch/$unit.d"
    sed -E 's#^(Exec[A-Za-z]*=)([+!-]*)[^ ]*(outrider|kill) #\1\2/bin/true #' "$folder/$unit" >"$scratch/$unit"
    if [ $# -gt 0 ]; then
        mkdir "$scratch/$unit.d"
        cp "$@" "$scratch/$unit.d/"
    fi
    complaints=$(systemd-analyze verify --man=no "$scratch/$unit" 2>&1 | grep -F "$unit" || true)
    if [ -n "$complaints" ]; then
        echo "$complaints" >&2
        bad=yes
        return
    fi
    report=$(systemd-analyze security --offline=true --no-pager --threshold="$most" "$scratch/$unit" 2>&1) || {
        echo "$report" >&2
        echo "$said: its score is above $most tenths" >&2
        bad=yes
    }
    echo "$said: verified, score $(echo "$report" | sed -n 's/.*: \([0-9.]*\) [A-Z].*/\1/p' | tail -n 1)"
}

for path in "$folder"/*.service; do
    unit=$(basename "$path")
    judge "$unit" "$unit"
    set --
    for drop_in in "$folder"/drop-ins/*.conf; do
        # NAME-updater.conf belongs to the updater, all others to the agent.
        case $unit:$drop_in in
        outrider-updater.service:*-updater.conf) ;;
        outrider-updater.service:* | *-updater.conf) continue ;;
        esac
        judge "$unit" "$unit with $(basename "$drop_in")" "$drop_in"
        set -- "$@" "$drop_in"
    done
    judge "$unit" "$unit with all" "$@"
done
[ -z "$bad" ]
