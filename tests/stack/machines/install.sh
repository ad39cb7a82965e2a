#!/usr/bin/env bash
# Installs what the stack tests are made of, on Debian and as root: PostgreSQL, a browser, and Node.js for the blob
# server. Run it as often as you like; a machine that has everything is left alone, without a look at the package index.
# With the argument `database`, everything but the browser.
set -euo pipefail

missing=()
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
[[ ${1:-} == database ]] || command -v chromium >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
command -v setpriv >/dev/null || missing+=(util-linux)

if [[ ${#missing[@]} -eq 0 ]]; then
  echo "stack tests: everything is installed"
  exit 0
fi
if [[ $EUID -ne 0 ]]; then
  echo "stack tests: install as root: ${missing[*]}" >&2
  exit 1
fi

# The tests start their own database: the package must not start one.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
echo "stack tests: installing ${missing[*]}"
apt-get -o DPkg::Lock::Timeout=600 update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "${missing[@]}"
