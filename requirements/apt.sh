#!/bin/sh
# Install the Debian packages named as arguments, or say what to install. Waits while apt is locked.
set -eu
missing=""
for package in "$@"; do
    case "$package" in
    mosquitto) command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ] && continue ;;
    dataset-fashion-mnist)
        [ -e "${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}/t10k-labels-idx1-ubyte.gz" ] && continue ;;
    *) dpkg -s "$package" >/dev/null 2>&1 && continue ;;
    esac
    missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null; then sudo="sudo -n"; else
        echo "Missing:$missing. Install:  sudo apt-get install$missing" >&2
        exit 1
    fi
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing:$missing (Debian names). This system has no apt-get: install them its own way." >&2
    echo "The Fashion-MNIST files may lie anywhere: set FASHION_MNIST to their folder." >&2
    exit 1
fi
try=1
while [ "$try" -le 5 ]; do
    if $sudo apt-get -o DPkg::Lock::Timeout=120 -q update >/dev/null &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q -y install \
            --no-install-recommends $missing >/dev/null; then
        exit 0
    fi
    echo "apt-get failed or is locked (try $try of 5); waiting" >&2
    try=$((try + 1))
    sleep 10
done
echo "Could not install:$missing. Install them by hand:  apt-get install$missing" >&2
exit 1
