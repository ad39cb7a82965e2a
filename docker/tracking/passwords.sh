#!/usr/bin/env bash
# Makes docker/.env for docker/compose.yaml: new passwords, and Azurite as the artifacts' store with a key of its own.
# For a real storage account, edit what it says below "artifacts". A file that is there is left as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 077

if [[ -e .env ]]; then
  echo "docker/.env is there already, and what runs may depend on it: move it away to make a new one." >&2
  exit 1
fi

# random BYTES FORMAT: hex or base64, on one line
random() {
  case $2 in
    hex) head -c "$1" /dev/urandom | od -An -v -tx1 | tr -d ' \n' ;;
    base64) head -c "$1" /dev/urandom | base64 | tr -d '\n' ;;
  esac
}

account=wftracking
key=$(random 64 base64)
# made whole: a half-written file would be left as it is the next time
cat >.env.new <<END
# The tracking stack: passwords that nobody else may read and no repository may have, and what it is made of.
COMPOSE_PROJECT_NAME=workload-forecast-tracking
TRACKING_DATABASE_PASSWORD=$(random 24 hex)
TRACKING_ADMIN_USERNAME=admin
TRACKING_ADMIN_PASSWORD=$(random 16 hex)
TRACKING_SECRET_KEY=$(random 32 hex)

# artifacts: Azurite, in a container of its own. For a real account remove these four lines, and set
# TRACKING_ARTIFACTS=wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/mlflow
# and TRACKING_STORAGE_CONNECTION_STRING, TRACKING_STORAGE_ACCESS_KEY or an identity (TRACKING_AZURE_TENANT_ID, ...).
COMPOSE_PROFILES=azurite
TRACKING_AZURITE_ACCOUNTS=$account:$key
TRACKING_STORAGE_CONNECTION_STRING='DefaultEndpointsProtocol=http;AccountName=$account;AccountKey=$key;BlobEndpoint=http://blobs:10000/$account'
TRACKING_ARTIFACTS=wasbs://mlflow@$account.blob.core.windows.net/mlflow
END
mv .env.new .env
echo "docker/.env is made. The administrator is 'admin', the password stands there."
