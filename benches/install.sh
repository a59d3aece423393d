#!/usr/bin/env bash
# Installs the peers and the load generators of the side-by-side bench. Does nothing when they are there.
set -euo pipefail
cd "$(dirname "$0")/.."

bash tests/install.sh
need=()
[[ -x /usr/sbin/nginx ]] || need+=(nginx-light)
[[ -x /usr/sbin/haproxy ]] || need+=(haproxy)
command -v taskset >/dev/null && command -v setpriv >/dev/null || need+=(util-linux)
if ((${#need[@]})); then
    echo "installing ${need[*]}"
    # The bench starts its own: a service of the system would take ports and time.
    if [[ ! -e /usr/sbin/policy-rc.d ]]; then
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${need[@]}"
fi
