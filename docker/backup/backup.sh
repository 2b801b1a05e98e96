#!/bin/sh
# The databases and the artifacts as they are now, into a new folder of $BACKUPS, whole or not at all.
# Databases first: whatever they name is among the artifacts that are copied after them. Stop the writers before
# (docs/deploy.md), so that a run's last numbers and its last files are of one moment.
# PGHOST, PGPORT, PGUSER and PGPASSWORD reach PostgreSQL as its superuser.
set -eu
: "${BACKUPS:?names the folder of the backups}" "${ARTIFACTS:?names the folder of the artifacts}"

stamp=$(date -u +%Y%m%dT%H%M%SZ)
target="$BACKUPS/$stamp"
part="$BACKUPS/.$stamp.part"
[ ! -e "$target" ] || { echo "backup: $target is there already" >&2; exit 1; }
umask 077 # dumps hold what people wrote
mkdir -p "$part"
trap 'rm -rf "$part"' EXIT

for name in mlflow optuna auth; do
    if [ -n "$(psql --no-psqlrc -d postgres -Atc "select 1 from pg_database where datname = '$name'")" ]; then
        pg_dump --format=custom --file="$part/$name.dump" "$name"
    fi
done
[ -s "$part/mlflow.dump" ] || { echo "backup: no database mlflow at $PGHOST" >&2; exit 1; }
tar -C "$ARTIFACTS" -cf "$part/artifacts.tar" .
(cd "$part" && sha256sum -- * > SHA256SUMS)
sync
mv "$part" "$target"
echo "$target"
