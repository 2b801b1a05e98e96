#!/bin/sh
# restore.sh BACKUP: the databases and artifacts of a folder that backup.sh wrote, into an installation without runs.
# Its databases and their owners are there (init-databases.sh made them), and no server or worker runs.
set -eu
: "${BACKUPS:?names the folder of the backups}" "${ARTIFACTS:?names the folder of the artifacts}"

[ $# -eq 1 ] || { echo "restore: name one backup of:" "$(ls "$BACKUPS")" >&2; exit 1; }
source="$BACKUPS/${1##*/}"
[ -f "$source/SHA256SUMS" ] || { echo "restore: $source is no backup; there are:" "$(ls "$BACKUPS")" >&2; exit 1; }
(cd "$source" && sha256sum --quiet --check SHA256SUMS) || { echo "restore: $source was damaged" >&2; exit 1; }
if [ -n "$(ls -A "$ARTIFACTS")" ] && [ "${OVERWRITE:-}" != yes ]; then
    echo "restore: there are artifacts in $ARTIFACTS; OVERWRITE=yes writes over them" >&2
    exit 1
fi

for dump in "$source"/*.dump; do
    name=$(basename "$dump" .dump)
    pg_restore --clean --if-exists --no-owner --role="$name" --exit-on-error --single-transaction --dbname="$name" "$dump"
done
tar -C "$ARTIFACTS" -xpf "$source/artifacts.tar"
echo "restored $source: start the servers, then d2n doctor"
