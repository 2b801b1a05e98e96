"""Runs, artifacts and registered models in MLflow: the only room that imports mlflow.

MLflow reads these switches when it is imported, so they are set here, before any module of the room: no
telemetry, no pickled models, no progress bars for single files, a minute for an answer (it waits two), and
no retries of its own: `connection.Connection.call` retries, with an eye on what a lost answer may have done. A
variable that is already set wins.
"""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")  # MLflow 3.17
os.environ.setdefault("MLFLOW_ALLOW_MODEL_CODE_EXECUTION", "false")  # MLflow 3.18
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
