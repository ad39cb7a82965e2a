#!/usr/bin/env bash
# Brings back what backup.sh has saved, into an empty database and a container that is there.
#
#   bash docker/tracking/restore.sh FOLDER [--replace]
#
# No server may use the database. The artifacts come first and the database last and in one piece: a restore that was
# broken off is done again with the same command. Artifacts that are there with another content are an error, unless
# --replace says to write over them; a database that is not empty always is. docs/tracking.md says what has to be set.
set -euo pipefail

usage() { echo "usage: restore.sh FOLDER [--replace] (with MLFLOW_BACKEND_STORE_URI and MLFLOW_ARTIFACTS_DESTINATION set)" >&2; }
[[ $# -ge 1 && -n ${MLFLOW_BACKEND_STORE_URI:-} && -n ${MLFLOW_ARTIFACTS_DESTINATION:-} ]] || { usage; exit 2; }
[[ $# -eq 1 || ($# -eq 2 && $2 == --replace) ]] || { usage; exit 2; }
folder=$1
read -ra on_database <<<"${TRACKING_DATABASE_RUN:-}"

if [[ ! -f $folder/SHA256SUMS ]]; then
  echo "restore.sh: $folder has no SHA256SUMS: it is no backup, or one that was broken off. Name another one." >&2
  exit 1
fi
echo "restore.sh: sums"
if ! (cd -- "$folder" && sha256sum --check --quiet --strict SHA256SUMS); then
  echo "restore.sh: $folder is damaged (see above): take another backup." >&2
  exit 1
fi

# tables and the like in any schema but PostgreSQL's own, and schemas of somebody's making
query="SELECT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_')
            + (SELECT count(*) FROM pg_namespace
                WHERE nspname NOT IN ('public', 'information_schema') AND nspname !~ '^pg_')"
there=$("${on_database[@]}" psql --no-password --no-psqlrc --dbname "$MLFLOW_BACKEND_STORE_URI" --tuples-only --no-align \
  --set ON_ERROR_STOP=1 --command "$query")
if [[ $there != 0 ]]; then
  echo "restore.sh: the database is not empty: make a new one (CREATE DATABASE mlflow OWNER mlflow) and name that." >&2
  exit 1
fi

echo "restore.sh: artifacts"
"${PYTHON:-python3}" -m workload_forecast.storage.copying "$folder/artifacts" "$MLFLOW_ARTIFACTS_DESTINATION" "${@:2}"

echo "restore.sh: database"
"${on_database[@]}" pg_restore --no-password --dbname "$MLFLOW_BACKEND_STORE_URI" --no-owner --no-privileges \
  --exit-on-error --single-transaction <"$folder/database.dump"
echo "restore.sh: done; start the server"
