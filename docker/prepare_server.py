"""Before the server starts: the artifact bucket, MLflow's schema and Optuna's, each made or brought up to date.

One process does it, alone: several that meet an empty database leave it half-migrated. Run again, it changes nothing.
Reads MLFLOW_BACKEND_STORE_URI, D2N_STUDY_STORAGE, S3_BUCKET and boto3's own variables; with log-in also
MLFLOW_AUTH_DATABASE_URI and MLFLOW_AUTH_ADMIN_PASSWORD.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

logger = logging.getLogger("prepare_server")


def main() -> None:
    """Everything in order; the first failure ends the container with its reason."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if os.environ.get("S3_BUCKET"):
        make_bucket(s3_client(), os.environ["S3_BUCKET"])
    upgrade_mlflow(os.environ["MLFLOW_BACKEND_STORE_URI"])
    upgrade_optuna(os.environ["D2N_STUDY_STORAGE"])
    if os.environ.get("MLFLOW_AUTH_DATABASE_URI"):
        prepare_login(
            os.environ["MLFLOW_AUTH_DATABASE_URI"], os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD", "")
        )


def s3_client() -> Any:
    """A client of the store at MLFLOW_S3_ENDPOINT_URL."""
    import boto3

    return boto3.client("s3", endpoint_url=os.environ.get("MLFLOW_S3_ENDPOINT_URL"))


def make_bucket(client: Any, name: str) -> bool:
    """Whether the bucket had to be made."""
    if name in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
        return False
    client.create_bucket(Bucket=name)
    logger.info("made bucket %s", name)
    return True


def upgrade_mlflow(uri: str) -> None:
    """MLflow's tables, of this image's version."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # An empty database is filled by the store itself; `mlflow db upgrade` lifts one of an older version.
    if has_tables(uri):
        subprocess.run([sys.executable, "-m", "mlflow", "db", "upgrade", uri], check=True)  # noqa: S603
    else:
        SqlAlchemyStore(uri, "mlflow-artifacts:/")
    logger.info("the schema of MLflow is up to date")


def upgrade_optuna(url: str) -> None:
    """Optuna's tables, of this image's version."""
    from optuna.storages import RDBStorage

    storage = RDBStorage(url, skip_compatibility_check=True)
    storage.upgrade()
    storage.remove_session()
    logger.info("the schema of Optuna is up to date")


def prepare_login(uri: str, password: str, administrator: str = "admin") -> bool:
    """MLflow's tables of users, and the administrator where there is none; whether there was none."""
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(uri)
    try:
        if store.has_user(administrator):
            logger.info("the users of MLflow are up to date")
            return False
        if not password:
            sys.exit(
                "MLFLOW_AUTH_ADMIN_PASSWORD is empty: set the first password of the administrator in .env"
            )
        store.create_user(administrator, password, is_admin=True)
    finally:
        store.engine.dispose()
    logger.info("made the user %s of MLflow", administrator)
    return True


def has_tables(uri: str) -> bool:
    """Whether the database holds anything yet."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri)
    try:
        return bool(sqlalchemy.inspect(engine).get_table_names())
    finally:
        engine.dispose()


if __name__ == "__main__":
    main()
