#!/bin/sh
# Take Outrider from this device, or from an image of one. State and configuration stay, with the user that owns them.
#
#   sudo sh uninstall.sh
#
#   --purge      remove these too: /var/lib/outrider, /etc/outrider, the user and group outrider
#   --root DIR   take it from the image that is mounted there
#   --dry-run    say what would be done, and do nothing
#
# Stopping the agent brings its outputs into their safe state. Drop-ins that you wrote yourself stay.
set -eu
units=/etc/systemd/system
root="" purge="" dry=""

fail() { echo "uninstall.sh: $1" >&2 && exit 2; }
run() { if [ -n "$dry" ]; then echo "would: $*"; else "$@"; fi; }

while [ $# -gt 0 ]; do
    case $1 in
    --root)
        [ $# -gt 1 ] || fail "--root needs a value"
        [ -d "$2" ] || fail "there is no folder '$2' to take it from"
        root=$(cd -- "$2" && pwd) || exit 1
        shift ;;
    --purge) purge=yes ;;
    --dry-run) dry=yes ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
    *) fail "there is no option $1; see --help" ;;
    esac
    shift
done
[ "$root" != / ] || root=""
[ -n "$root$dry" ] || [ "$(id -u)" = 0 ] || fail "root is needed: sudo sh $0"

remove() {
    for path in "$@"; do
        if [ -e "$path" ] || [ -h "$path" ]; then run rm -rf "$path"; fi
    done
}

if command -v systemctl >/dev/null; then
    for unit in outrider-updater.service outrider-agent.service; do
        [ -f "$root$units/$unit" ] || continue
        if [ -z "$root" ] && [ -d /run/systemd/system ]; then run systemctl stop "$unit"; fi
        run systemctl --quiet ${root:+"--root=$root"} disable "$unit"
    done
fi
for unit in outrider-updater.service outrider-agent.service; do
    remove "$root$units/$unit" "$root$units/$unit.d"/10-outrider-*.conf
    if [ -d "$root$units/$unit.d" ]; then run rmdir --ignore-fail-on-non-empty "$root$units/$unit.d"; fi
done
remove "$root/etc/sysusers.d/outrider.conf" "$root/etc/tmpfiles.d/outrider.conf" "$root/etc/udev/rules.d/70-outrider.rules"
if [ -z "$root" ] && [ -d /run/systemd/system ]; then run systemctl daemon-reload; fi

if [ "$(readlink "$root/usr/local/bin/outrider" 2>/dev/null || true)" = /opt/outrider/bin/outrider ]; then
    run rm "$root/usr/local/bin/outrider"
fi
if [ -h "$root/opt/outrider" ]; then run rm "$root/opt/outrider"; fi
remove "$root"/opt/outrider-*-py* "$root/opt/.outrider.part" "$root/opt/.outrider.link"

if [ -n "$purge" ]; then
    remove "$root/var/lib/outrider" "$root/etc/outrider"
    if grep -q '^outrider:' "$root/etc/passwd" 2>/dev/null; then
        run userdel ${root:+--prefix "$root"} outrider # and its group
    fi
fi
