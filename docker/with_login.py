"""Run the MLflow server with log-in: ``python with_login.py mlflow server --app-name basic-auth …``.

MLflow reads the database of its users from a file alone. This writes that file from the template beside it and
MLFLOW_AUTH_DATABASE_URI, readable by this user alone, and becomes the command.
"""

from __future__ import annotations

import configparser
import os
import sys
import tempfile
from pathlib import Path

TEMPLATE = Path(__file__).with_name("basic_auth.ini")


def main(command: list[str]) -> None:
    """Become the command, with the file's place in its environment."""
    uri = os.environ.pop("MLFLOW_AUTH_DATABASE_URI", "")
    if not uri or not command:
        sys.exit("with_login: expected MLFLOW_AUTH_DATABASE_URI and a command, such as: mlflow server …")
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(written(uri, Path(tempfile.mkdtemp(prefix="mlflow-auth-"))))
    os.execvp(command[0], command)  # noqa: S606 - the container's own command, no shell


def written(uri: str, folder: Path) -> Path:
    """The template with the database of the users, in a folder that nobody else reads."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(TEMPLATE, encoding="utf-8")
    config["mlflow"]["database_uri"] = uri.replace("%", "%%")  # MLflow's reader takes %% for %
    path = folder / "basic_auth.ini"
    path.touch(mode=0o600)
    with path.open("w", encoding="utf-8") as file:
        config.write(file)
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
