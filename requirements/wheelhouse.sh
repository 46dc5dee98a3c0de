#!/bin/sh
# Build a wheelhouse: all that a device needs, in one folder, to be installed there without a network.
#
#   sh requirements/wheelhouse.sh aarch64 3.11     or     make wheelhouse ARCH=aarch64 PYTHON_VERSION=3.11
#
# Architectures: aarch64, x86_64, armv7l. Also read from the environment:
#   EXTRAS        what of Outrider to bring, for example agent,onnx,gpio
#   GLIBC         the device's C library; default 2.35, which Debian 12, Ubuntu 22.04, JetPack 6 and later have
#   PYTHON        runs pip here; best of the device's version, since conditions in packages are judged by it
#   EXTRA_INDEX   a second package index. 32-bit ARM needs one, since few packages have wheels for it in the
#                 usual one; Raspberry Pi OS has such an index.
set -eu
arch=${1:-${ARCH:-}}
version=${2:-${PYTHON_VERSION:-3.11}}
glibc=${GLIBC:-2.35}
top=$(cd "$(dirname "$0")/.." && pwd)
constraints="$top/requirements/constraints.txt"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

case $arch in
aarch64 | x86_64) extras=${EXTRAS:-agent,onnx,tflite,gpio,modbus,cbor} ;;
armv7l) extras=${EXTRAS:-agent,tflite-runtime,gpio,modbus} ;;
*) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2 && exit 2 ;;
esac
case $extras in
*tflite-runtime*) # its library is of numpy 1's time
    grep -v -e '^numpy=' -e '^opencv-' "$constraints" >"$scratch/constraints.txt" && constraints="$scratch/constraints.txt"
    ;;
esac
python=${PYTHON:-$top/.venv/bin/python}
command -v "$python" >/dev/null || python=python3
out="$top/build/wheelhouse/$arch-py$version"
part="$out.part"

# pip takes a platform literally: a wheel for an older C library has to be named too.
platforms="linux_$arch manylinux2014_$arch"
minor=17
while [ "$minor" -le "${glibc#2.}" ]; do
    platforms="$platforms manylinux_2_${minor}_$arch"
    minor=$((minor + 1))
done
[ "$arch" != x86_64 ] || platforms="$platforms manylinux_2_12_$arch manylinux2010_$arch manylinux_2_5_$arch manylinux1_$arch"

rm -rf "$part"
mkdir -p "$part"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip wheel --no-deps --wheel-dir "$part" "$top"
wheel=$(find "$part" -name 'outrider-*.whl')
set -- --python-version "$version" --implementation cp --only-binary=:all:
for platform in $platforms; do set -- "$@" --platform "$platform"; done
[ -z "${EXTRA_INDEX:-}" ] || set -- "$@" --extra-index-url "$EXTRA_INDEX"
if ! pip download --log "$scratch/log" --dest "$part" -c "$constraints" "$@" "${wheel}[$extras]"; then
    echo "Not every package has a wheel for $arch and Python $version. What pip could not bring together:" >&2
    sed -n 's/^[^ ]* *\(.* depends on .*\)/    \1/p' "$scratch/log" | sort -u >&2
    echo "EXTRA_INDEX names a second index, EXTRAS asks for less, GLIBC for a newer C library." >&2
    rm -rf "$part"
    exit 1
fi
pip download --dest "$part" --no-deps --only-binary=:all: pip # a device need not have it

mkdir "$part/systemd"
cp -R "$top/systemd/." "$part/systemd/"
printf '%s\n' "ARCH=$arch" "PYTHON_VERSION=$version" "GLIBC=$glibc" "EXTRAS=$extras" "PLATFORMS=$platforms" >"$part/wheelhouse.env"
(cd "$part" && sha256sum -- *.whl >SHA256SUMS)
rm -rf "$out"
mv "$part" "$out"
echo "$out: $(find "$out" -name '*.whl' | wc -l) wheels, $(du -sm "$out" | cut -f 1) MB"
echo "Copy the folder to the device, then there:  sudo sh $(basename "$out")/systemd/install.sh --with camera"
