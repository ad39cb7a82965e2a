#!/usr/bin/env bash
# Backs up the tracking stack into a new folder: runs, registry, users and permissions as of one moment
# (database.dump), then the artifacts, then the sums of all of it (SHA256SUMS), which say that the backup is whole.
#
#   bash docker/tracking/backup.sh FOLDER
#
# The server may go on working. Artifacts come second, so that all that the dump names are among them; nothing may be
# removed for good (`mlflow gc`) meanwhile. docs/tracking.md says what has to be set, and how it is done with Docker.
set -euo pipefail

usage() { echo "usage: backup.sh FOLDER (with MLFLOW_BACKEND_STORE_URI and MLFLOW_ARTIFACTS_DESTINATION set)" >&2; }
[[ $# -eq 1 && -n ${MLFLOW_BACKEND_STORE_URI:-} && -n ${MLFLOW_ARTIFACTS_DESTINATION:-} ]] || { usage; exit 2; }
folder=$1
# where pg_dump runs, like: docker compose -f docker/compose.yaml exec -T database
read -ra on_database <<<"${TRACKING_DATABASE_RUN:-}"

if [[ -e $folder && -n $(ls -A -- "$folder") ]]; then
  echo "backup.sh: $folder is not empty: name a new folder, so that no two backups get mixed." >&2
  exit 1
fi
umask 077 # it holds the hashes of passwords
mkdir -p -- "$folder"

echo "backup.sh: database"
"${on_database[@]}" pg_dump --no-password --dbname "$MLFLOW_BACKEND_STORE_URI" --format custom --no-owner \
  --no-privileges >"$folder/database.dump"

echo "backup.sh: artifacts"
mkdir -- "$folder/artifacts"
"${PYTHON:-python3}" -m workload_forecast.storage.copying "$MLFLOW_ARTIFACTS_DESTINATION" "$folder/artifacts"

echo "backup.sh: sums"
cd -- "$folder"
find . -type f ! -path './SHA256SUMS*' -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS.new
mv SHA256SUMS.new SHA256SUMS
echo "backup.sh: done, $(wc -l <SHA256SUMS) files in $folder"
