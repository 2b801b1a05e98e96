from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import optuna
import pytest

from d2n.errors import StudyError
from d2n.studies.attributes import is_lease_table, is_storage, rewrite_paths
from d2n.studies.leases import LeaseTable
from d2n.studies.storage import open_optuna, storage_url


def test_paths_below_the_moved_folder_are_led_to_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "optuna.db"
    storage = open_optuna(storage_url(f"sqlite:///{file}"))
    study = optuna.create_study(storage=storage, study_name="s")
    values = {
        "file": "/old/st é/a",
        "uri": "file:///old/st%20%C3%A9/a",
        "near": "/old/st éx",
        "n": [1, "/old/st é"],
    }
    study.set_user_attr("mine", values)
    study.set_user_attr("d2n.definition", {"experiment": "/old/st é/x.yaml"})  # what the YAML says stays
    trial = study.ask()
    trial.set_user_attr("work", "/old/st é/work")
    assert rewrite_paths(file, Path("/old/st é"), Path("/new")) == 2
    again = optuna.load_study(storage=open_optuna(storage_url(f"sqlite:///{file}")), study_name="s")
    assert again.user_attrs["mine"] == {
        "file": "/new/a",
        "uri": "file:///new/a",
        "near": "/old/st éx",
        "n": [1, "/new"],
    }
    assert again.user_attrs["d2n.definition"] == {"experiment": "/old/st é/x.yaml"}
    assert again.trials[0].user_attrs["work"] == "/new/work"


def test_a_damaged_attribute_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "optuna.db"
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE study_user_attributes (key TEXT, value_json TEXT)")
    database.executemany(
        "INSERT INTO study_user_attributes VALUES ('k', ?)", [("{",), (None,), (json.dumps("/a"),)]
    )
    database.commit()
    assert rewrite_paths(file, Path("/a"), Path("/b")) == 1
    assert database.execute("SELECT value_json FROM study_user_attributes").fetchall() == [
        ("{",),
        (None,),
        ('"/b"',),
    ]
    database.close()


def test_a_file_is_known_by_its_tables(tmp_path: Path) -> None:
    url = storage_url(f"sqlite:///{tmp_path}/any.db")
    open_optuna(url)
    LeaseTable(url)
    assert is_storage(tmp_path / "any.db")
    assert is_lease_table(tmp_path / "any-leases.db")
    assert not is_storage(tmp_path / "any-leases.db")
    (tmp_path / "text.db").write_text("x" * 100)
    with pytest.raises(StudyError, match="cannot be read"):
        is_storage(tmp_path / "text.db")
