#!/bin/sh
# Run once by the postgres image, on an empty volume: a user and a database of its own for MLflow, for Optuna and, with
# log-in, for MLflow's users (by hand on a volume that is there: docs/deploy.md).
# They cannot share one database: both keep a table `alembic_version`.
set -eu

create() { # name password
    psql --no-psqlrc --set ON_ERROR_STOP=1 --set name="$1" --set password="$2" \
        --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}

create mlflow "$MLFLOW_DB_PASSWORD"
create optuna "$OPTUNA_DB_PASSWORD"
if [ -n "${AUTH_DB_PASSWORD:-}" ]; then
    create auth "$AUTH_DB_PASSWORD"
fi
