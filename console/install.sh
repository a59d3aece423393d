#!/usr/bin/env bash
# Installs the browser that tests of the console drive, and a font that has Chinese, so that pictures show more than boxes. Does
# nothing when they are there.
set -euo pipefail

need=()
if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then need+=(chromium); fi
if ! fc-list :lang=zh 2>/dev/null | grep -q .; then need+=(fonts-wqy-microhei); fi
if ((${#need[@]})); then
    echo "installing ${need[*]}"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${need[@]}"
fi
