#!/usr/bin/env bash
# `make stop`: ends the private berthd of `make run` and removes all that it kept. Works as well on
# what a killed one left behind.
set -eu
. "$(dirname "$0")/env.sh"
need_root
case $BERTH_HOME:$BERTH_RUN in /*/*:/*/*) ;; *) die "BERTH_HOME=$BERTH_HOME and BERTH_RUN=$BERTH_RUN must be deep absolute paths" ;; esac
case $BERTH_HOME:$BERTH_RUN in *..* | *//*) die "no .. in BERTH_HOME and BERTH_RUN" ;; esac

if [ ! -e "$BERTH_HOME" ] && [ ! -e "$BERTH_RUN" ] && ! bridge_exists; then
  say "nothing to stop"
  exit 0
fi

gone() { timeout "$2" tail --pid="$1" -f /dev/null; }

socket=$BERTH_RUN/docker.sock
pid=$(cat "$BERTH_RUN/berthd.pid" 2>/dev/null || true)
if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = berthd ]; then
  # By the API while it lasts: so that networks and mounts go the way they came.
  docker_at "$socket" ps --all --quiet 2>/dev/null | xargs -r timeout 60 env DOCKER_HOST="unix://$socket" docker rm --force >/dev/null || true
  kill "$pid"
  if ! gone "$pid" 60; then
    say "berthd (PID $pid) did not stop within 60 s: killing it"
    kill -9 "$pid"
    gone "$pid" 10 || true
  fi
fi

# A clean stop leaves none of these. A berthd that was killed does: its containerd and its shims,
# known by the exec root on their command lines.
for entry in /proc/[0-9]*; do
  pid=${entry#/proc/}
  # Processes come and go while we look.
  { read -r name <"$entry/comm" && line=$(tr '\0' ' ' <"$entry/cmdline"); } 2>/dev/null || continue
  case $name:$line in containerd*:*"$BERTH_RUN/exec/"*) ;; *) continue ;; esac
  # A shim's children are its container.
  if [ "$name" = containerd-shim ]; then
    { xargs -r kill -9 <"$entry/task/$pid/children"; } 2>/dev/null || true
  fi
  kill -9 "$pid" 2>/dev/null || true
  gone "$pid" 10 || true
done

# Deepest first; mountinfo writes a blank in a path as \040.
awk '{ print $5 }' /proc/self/mountinfo | while read -r point; do
  case $point in "$BERTH_HOME"/* | "$BERTH_RUN"/*) printf '%b\n' "${point//\\/\\0}" ;; esac
done | sort -r | while IFS= read -r point; do umount -l "$point" || true; done

# Its packet filter rules: the table of ours that knows this bridge and no other berthd's.
nft list tables 2>/dev/null | while read -r _ family table; do
  case $table in berth*) ;; *) continue ;; esac
  rules=$(nft list table "$family" "$table")
  case $rules in *docker0*) continue ;; *"$bridge"*) nft delete table "$family" "$table" ;; esac
done
! bridge_exists || ip link del $bridge
remove_empty_cgroups
rm -rf --one-file-system -- "$BERTH_HOME" "$BERTH_RUN"
say "stopped; $BERTH_HOME, $BERTH_RUN and the bridge $bridge are removed"
