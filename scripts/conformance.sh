#!/usr/bin/env bash
# Runs the public checks of the docker CLI (cli_public.sh of the conformance folder) against a
# berthd in namespaces of its own, and says which fail:
#   conformance.sh            berthd, a release build
#   DAEMON=dockerd conformance.sh   Debian's dockerd, to check the checks
# ONLY="025 026" runs only these. CONFORMANCE names the folder (default: ../shared/conformance),
# BERTHD a berthd that is built already.
set -eu
. "$(dirname "$0")/env.sh"
need_root
flags=()
checks=${CONFORMANCE:-$top/../shared/conformance}/cli_public.sh
[ -r "$checks" ] || die "no $checks: say where it is with CONFORMANCE=FOLDER"
case ${DAEMON:-berthd} in
berthd)
  "$top/scripts/setup.sh" run
  daemon=$("$top/scripts/build.sh")
  ;;
dockerd)
  "$top/scripts/setup.sh" bench
  daemon=$dockerd
  flags=("${dockerd_flags[@]}")
  ;;
*) die "DAEMON=$DAEMON is neither berthd nor dockerd" ;;
esac

. "$top/scripts/sandbox.sh"
sandbox_open it
sandbox_daemon it "$daemon" "${flags[@]}"
state=${sandbox_state[it]}
"$top/scripts/bundled-image.sh" rootfs "$state/rootfs.tar"
status=0
sandbox_exec it env -u DOCKER_CONTEXT -u DOCKER_CONFIG DOCKER_HOST="unix://${sandbox_run[it]}/docker.sock" BB_TAR="$state/rootfs.tar" \
  ONLY="${ONLY:-}" TMO="${TMO:-60}" bash "$checks" >"$state/checks.log" 2>&1 &
# In the background, so that a signal ends this script at once, and with it the sandbox.
wait $! || status=$?
# Of what passed the count is enough.
grep -v '^ok ' "$state/checks.log" || true
[ -z "${KEEP_LOG:-}" ] || cp "$state/daemon.log" "$KEEP_LOG"
exit $status
