#!/usr/bin/env bash
# Packs the machine's static busybox, with no registry and no Docker:
#   bundled-image.sh image OUT.tar [NAME:TAG]   an archive for `docker load` (default busybox:latest)
#   bundled-image.sh rootfs OUT.tar             a root file system for `docker import`
# The same busybox gives the same bytes every time.
set -eu
what=${1:-} out=${2:-} tag=${3:-busybox:latest}
case $what in image | rootfs) ;; *) out= ;; esac
[ -n "$out" ] || { echo "usage: bundled-image.sh image OUT.tar [NAME:TAG] | rootfs OUT.tar" >&2; exit 2; }
busybox=$(command -v busybox) || { echo "bundled-image.sh: no busybox here: apt-get install busybox-static" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

pack() { # FOLDER OUT
  (cd "$1" && tar --sort=name --mtime=2025-01-01T00:00:00Z --owner=0 --group=0 --numeric-owner --format=ustar -cf - -- *) >"$2"
}

root=$work/root
mkdir -m 755 "$root"
for dir in bin dev etc home proc sys usr usr/sbin var var/spool var/spool/mail var/www; do mkdir -m 755 "$root/$dir"; done
mkdir -m 700 "$root/root"
mkdir -m 1777 "$root/tmp"
install -m 755 "$busybox" "$root/bin/busybox"
"$busybox" --list | while read -r applet; do
  [ -e "$root/bin/$applet" ] || ln "$root/bin/busybox" "$root/bin/$applet"
done
cat >"$root/etc/passwd" <<'PASSWD'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
PASSWD
cat >"$root/etc/group" <<'GROUP'
root:x:0:
daemon:x:1:
bin:x:2:
tty:x:5:
mail:x:8:www-data
audio:x:29:operator
www-data:x:33:
staff:x:50:
nobody:x:65534:
GROUP
echo 'root:*:::::::' >"$root/etc/shadow"
chmod 644 "$root/etc/passwd" "$root/etc/group"
chmod 600 "$root/etc/shadow"

pack "$root" "$work/layer.tar"
if [ "$what" = rootfs ]; then
  mv "$work/layer.tar" "$out"
  exit 0
fi

case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac
sha() { sha256sum "$1" | cut -d ' ' -f 1; }
archive=$work/archive
layer=$(sha "$work/layer.tar")
mkdir -p "$archive/$layer"
mv "$work/layer.tar" "$archive/$layer/layer.tar"
cat >"$work/config.json" <<CONFIG
{"architecture":"$arch","os":"linux","created":"2025-01-01T00:00:00Z","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created":"2025-01-01T00:00:00Z","created_by":"busybox-static, packed by Berth"}]}
CONFIG
config=$(sha "$work/config.json")
mv "$work/config.json" "$archive/$config.json"
printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["%s/layer.tar"]}]\n' "$config" "$tag" "$layer" >"$archive/manifest.json"
pack "$archive" "$out"
