#!/bin/sh
# Install Outrider on this device, or into an image of one, from a wheelhouse and without a network.
#
#   sudo sh install.sh --with camera,gpio
#
#   --with LIST         what the agent may open: camera, gpio, serial, coral-usb, coral-pcie, fpga, or none.
#                       Without it stays what was chosen before; at first that is none.
#   --wheelhouse DIR    wheels to install from; default: the folder above this script, as `make wheelhouse` makes it
#   --python PROGRAM    the device's Python; default: python3.X, of the version the wheelhouse was made for
#   --root DIR          install into the image that is mounted there; its processor may be another
#   --no-start          do not start or restart the agent
#   --dry-run           say what would be done, and do nothing
#
# Doing it again changes nothing, and with a newer wheelhouse it is the upgrade. The program lies in a folder of its
# own under /opt, and the link /opt/outrider is turned to it in one step: a power cut leaves the old or the new one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
units=/etc/systemd/system
root="" wheels="" with=keep python="" start=yes dry="" changed="" part=""

fail() {
    echo "install.sh: $1" >&2
    if [ -n "$part" ]; then rm -rf "$part"; fi
    exit 2
}
run() { if [ -n "$dry" ]; then echo "would: $*"; else "$@"; fi; }

while [ $# -gt 0 ]; do
    case $1 in
    --with | --wheelhouse | --python | --root) [ $# -gt 1 ] || fail "$1 needs a value" ;;
    esac
    case $1 in
    --with) with=$2 && shift ;;
    --wheelhouse) wheels=$2 && shift ;;
    --python) python=$2 && shift ;;
    --root) [ -d "$2" ] || fail "there is no folder '$2' to install into"; root=$(cd -- "$2" && pwd) || exit 1; shift ;;
    --no-start) start="" ;;
    --dry-run) dry=yes ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
    *) fail "there is no option $1; see --help" ;;
    esac
    shift
done
[ "$root" != / ] || root=""

wheels=$(cd "${wheels:-$here/..}" && pwd)
for wheel in "$wheels"/outrider-*.whl; do
    [ -f "$wheel" ] || fail "no wheel of outrider in $wheels: give --wheelhouse DIR; 'make wheelhouse' builds one"
done
[ -n "$root$dry" ] || [ "$(id -u)" = 0 ] || fail "root is needed: sudo sh $0"

made_for() { sed -n "s/^$1=//p" "$wheels/wheelhouse.env" 2>/dev/null || true; }
dropped="$units/outrider-agent.service.d"
if [ "$with" = keep ]; then
    with=$(find "$root$dropped" -name '10-outrider-*.conf' 2>/dev/null | sed 's/.*10-outrider-\(.*\)\.conf/\1/' | sort)
fi
[ "$with" != none ] || with=""
with=$(echo "$with" | tr ',\n' '  ')
for name in $with; do
    case $name in *[!a-z-]* | *-updater) fail "there is no drop-in $name" ;; esac
    [ -f "$here/drop-ins/$name.conf" ] || fail "there is no drop-in $name; see $here/drop-ins"
done

# The interpreter: the device's own, and in an image the one that will be there.
version=$(made_for PYTHON_VERSION)
if [ -n "$root" ]; then
    [ -n "$version" ] || fail "$wheels/wheelhouse.env does not say for which Python it is: build it by 'make wheelhouse'"
    base=${python:-/usr/bin/python$version} python=python3
    [ -e "$root$base" ] || [ -h "$root$base" ] || echo "install.sh: $root$base is not there yet; the agent needs it" >&2
else
    python=${python:-python${version:-3}}
    command -v "$python" >/dev/null || fail "$python is not here: install it, or build a wheelhouse for your Python"
    base=$("$python" -c 'import sys; print(sys._base_executable)')
    found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    [ "${version:=$found}" = "$found" ] || fail "the wheelhouse is for Python $version, and $python is $found"
fi

if [ -f "$wheels/SHA256SUMS" ]; then
    (cd "$wheels" && sha256sum --check --quiet SHA256SUMS) || fail "the wheelhouse is damaged: copy it again"
fi
digest=$(cd "$wheels" && sha256sum -- *.whl | sha256sum | cut -c 1-12)
release=$(basename "$wheel" | sed 's/^\(outrider-[^-]*\)-.*/\1/')-py$version-$digest

pip() { # with no settings of this machine
    from=$(find "$wheels" -maxdepth 1 -name 'pip-*.whl' | head -n 1)
    if [ -n "$from" ]; then set -- "$from/pip" "$@"; else set -- -m pip "$@"; fi
    PIP_CONFIG_FILE=/dev/null "$python" "$@"
}

build() {
    part="$root/opt/.outrider.part"
    site="$part/lib/python$version/site-packages"
    rm -rf "$part"
    mkdir -p "$part/bin" "$site"
    set --
    if [ -n "$root" ]; then
        for platform in $(made_for PLATFORMS); do set -- "$@" --platform "$platform"; done
        set -- "$@" --python-version "$version" --implementation cp --only-binary=:all:
    fi
    for each in "$wheels"/*.whl; do
        case $each in */pip-*) ;; *) set -- "$@" "$each" ;; esac
    done
    pip --isolated --disable-pip-version-check --no-cache-dir install --quiet --root-user-action=ignore --no-index \
        --no-deps --no-compile --target "$site" "$@" || fail "the wheels do not go with this device: see above"
    rm -rf "$site/bin" # programs of libraries, with this path in them
    printf 'home = %s\ninclude-system-site-packages = false\nversion = %s\n' "$(dirname "$base")" "$version" >"$part/pyvenv.cfg"
    ln -s "$base" "$part/bin/python"
    cat >"$part/bin/outrider" <<'PROGRAM'
#!/opt/outrider/bin/python
import sys
from outrider_bundle.dispatch import main

sys.exit(main())
PROGRAM
    chmod 0755 "$part/bin/outrider"
    if [ -z "$root" ]; then
        "$part/bin/python" -I -c 'import outrider_agent.cli, outrider_bundle.dispatch' || fail "the agent does not start here"
    fi
    # The agent cannot write here, so what Python compiles has to be there already: it starts faster.
    compiler=$(command -v "python$version" || command -v "$python")
    if [ "$("$compiler" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = "$version" ]; then
        "$compiler" -m compileall -q -j 0 -s "$part" -p /opt/outrider "$site" >/dev/null 2>&1 || true
    fi
    chmod -R u=rwX,go=rX "$part"
    sync
    rm -rf "$root/opt/$release"
    mv "$part" "$root/opt/$release"
    part=""
}

turn() {
    [ -h "$root/opt/outrider" ] || [ ! -e "$root/opt/outrider" ] || fail "$root/opt/outrider is a folder: move it away"
    ln -sfn "$release" "$root/opt/.outrider.link"
    mv -T "$root/opt/.outrider.link" "$root/opt/outrider"
    sync
}

brings() { # COMMAND
    "$python" - "$wheel" "$1" <<'LOOK'
import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
(points,) = (name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt"))
lines = wheel.read(points).decode().split("[outrider.commands]")[-1].split("[")[0].splitlines()
sys.exit(sys.argv[2] not in (line.partition("=")[0].strip() for line in lines))
LOOK
}

put() { # SOURCE TARGET
    if ! cmp -s "$1" "$root$2"; then
        changed=yes
        run install -D -m 0644 "$1" "$root$2"
    fi
}

if [ "$(readlink "$root/opt/outrider" 2>/dev/null || true)" != "$release" ]; then
    changed=yes
    run mkdir -p "$root/opt"
    [ -d "$root/opt/$release" ] || run build
    run turn
fi
if [ ! -e "$root/usr/local/bin/outrider" ] && [ ! -h "$root/usr/local/bin/outrider" ]; then
    run mkdir -p "$root/usr/local/bin"
    run ln -s /opt/outrider/bin/outrider "$root/usr/local/bin/outrider"
fi

put "$here/outrider-agent.service" "$units/outrider-agent.service"
put "$here/outrider-updater.service" "$units/outrider-updater.service"
put "$here/outrider.sysusers.conf" /etc/sysusers.d/outrider.conf
put "$here/outrider.tmpfiles.conf" /etc/tmpfiles.d/outrider.conf
put "$here/70-outrider.rules" /etc/udev/rules.d/70-outrider.rules
for name in $with; do
    put "$here/drop-ins/$name.conf" "$dropped/10-outrider-$name.conf"
    if [ -f "$here/drop-ins/$name-updater.conf" ]; then
        put "$here/drop-ins/$name-updater.conf" "$units/outrider-updater.service.d/10-outrider-$name.conf"
    fi
done
for old in "$root$dropped"/10-outrider-*.conf "$root$units"/outrider-updater.service.d/10-outrider-*.conf; do
    name=$(basename "$old" .conf)
    case " $with " in *" ${name#10-outrider-} "*) continue ;; esac
    if [ -f "$old" ]; then
        changed=yes
        run rm "$old"
    fi
done

for program in systemd-sysusers "systemd-tmpfiles --create"; do
    if command -v "${program%% *}" >/dev/null; then
        # shellcheck disable=SC2086 # two words
        run $program ${root:+"--root=$root"} outrider.conf
    else
        echo "install.sh: ${program%% *} is not here: make the user outrider and the folder /etc/outrider by hand" >&2
    fi
done

command -v systemctl >/dev/null || { echo "install.sh: there is no systemctl here: enable the units by hand" >&2 && exit 0; }
run systemctl --quiet ${root:+"--root=$root"} enable outrider-agent.service
# The updater may come with a later version: its unit is enabled where the program has the command.
if brings updater; then
    run systemctl --quiet ${root:+"--root=$root"} enable outrider-updater.service
fi

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    run systemctl daemon-reload
    if command -v udevadm >/dev/null; then
        run udevadm control --reload
        run udevadm trigger --subsystem-match=usb --subsystem-match=apex --subsystem-match=gpio
    fi
    if [ -n "$start" ] && [ -e /etc/outrider/agent.toml ]; then
        run systemctl "$([ -n "$changed" ] && echo restart || echo start)" outrider-agent.service
    fi
fi
for old in "$root"/opt/outrider-*-py*; do
    [ ! -d "$old" ] || [ "$(basename "$old")" = "$release" ] || run rm -rf "$old"
done
[ -e "$root/etc/outrider/agent.toml" ] ||
    echo "Write /etc/outrider/agent.toml (outrider agent config --example image), then: systemctl start outrider-agent"
