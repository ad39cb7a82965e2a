#!/usr/bin/env bash
# Installs what the machines of the target tests are made of, on Debian 12 and as root: a container engine, an SSH
# server, rsync, Java, Python with venv, and the tools that build the base image. Run it as often as you like; a
# machine that has everything is left alone, without a look at the package index.
set -euo pipefail

# a command, or a file, and the package that brings it
declare -A brings=(
  [dockerd]=docker.io
  [docker]=docker.io
  [docker-compose]=docker-compose # reads the compose file
  [kubectl]=kubernetes-client     # renders the manifests for Kubernetes
  [sshd]=openssh-server
  [ssh]=openssh-client
  [rsync]=rsync
  [debootstrap]=debootstrap
  [/usr/share/keyrings/debian-archive-keyring.gpg]=debian-archive-keyring # only Debian has it from the start
  [gpgv]=gpgv                                                             # debootstrap checks the archive's signature
  [/etc/ssl/certs/ca-certificates.crt]=ca-certificates
  [/usr/bin/python3]=python3
  [useradd]=passwd
  [setpriv]=util-linux
  [ps]=procps
  [curl]=curl
)

export PATH="$PATH:/usr/sbin:/sbin"
missing=()
for what in "${!brings[@]}"; do
  [[ -e $what ]] || command -v "$what" >/dev/null || missing+=("${brings[$what]}")
done
# one Python that every user may run: not one under /root
/usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
# `java -version` fails for the stub that some machines have
java -version >/dev/null 2>&1 || missing+=(openjdk-17-jre-headless)

if [[ ${#missing[@]} -eq 0 ]]; then
  echo "target tests: everything is installed"
  exit 0
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if [[ $EUID -ne 0 ]]; then
  echo "target tests: install as root: ${missing[*]}" >&2
  exit 1
fi

# The tests start their own engine and their own SSH server: the packages must not start theirs.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
echo "target tests: installing ${missing[*]}"
apt-get -o DPkg::Lock::Timeout=600 update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "${missing[@]}"
