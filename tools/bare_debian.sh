#!/usr/bin/env bash
# Make a minimal Debian in a folder and run both commands of the README in it, as root:
#
#   tools/bare_debian.sh bookworm|trixie FOLDER [make target ...]
#
# The machine that it stands for has python3, python3-venv, make and git: no compiler, no OpenMP
# library. What is committed is cloned into it. A package index of this machine's own, its
# certificates and the like are shown to it by BIND="PATH ...", and variables PIP_* go through.
set -euo pipefail
suite=$1 folder=$(realpath -m "$2")
shift 2
checkout=$(cd "$(dirname "$0")/.." && pwd)
mounts=(/proc /sys /dev /dev/pts /dev/shm ${BIND-})

if [ ! -e "$folder/usr/bin/make" ]; then
  debootstrap --variant=minbase --include=ca-certificates,git,make,python3,python3-venv \
    "$suite" "$folder" ${MIRROR:+"$MIRROR"}
fi
cp /etc/resolv.conf "$folder/etc/resolv.conf"
unmount() {
  for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
    ! mountpoint -q "$folder${mounts[i]}" || umount "$folder${mounts[i]}"
  done
}
trap unmount EXIT
for path in "${mounts[@]}"; do
  if [ -d "$path" ]; then mkdir -p "$folder$path"; else mkdir -p "$(dirname "$folder$path")" && touch "$folder$path"; fi
  mount --bind "$path" "$folder$path"
done
rm -rf "$folder/root/icecore"
git clone --quiet "$checkout" "$folder/root/icecore"
environment=(HOME=/root PATH=/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8)
while IFS= read -r line; do environment+=("$line"); done < <(env | grep -E '^(PIP_|SSL_CERT)' || true)
for target in "${@:-demo test}"; do
  for one in $target; do
    echo "== $suite: make $one"
    chroot "$folder" /usr/bin/env -i "${environment[@]}" make -C /root/icecore "$one"
  done
done
