"""Every finding of bandit has its answer in docs/security.md, every answer its finding; no secret is in the tree."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
_ROW = re.compile(r"^\| (B\d{3}(?:, B\d{3})*) [^|]*\| `([^`]+)` \| (\d+) \|", re.MULTILINE)
# Keys as the large services write them, and private keys
_SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|ghp_[A-Za-z0-9]{36}|xox[abp]-[A-Za-z0-9-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----|"
    r"sk-[A-Za-z0-9]{32,}|hf_[A-Za-z0-9]{30,}"
)


def answered() -> Counter[tuple[str, str]]:
    """(checks, file) with how often the table says that they are found."""
    text = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    return Counter({(checks, file): int(times) for checks, file, times in _ROW.findall(text)})


def test_the_table_names_files_that_are_there() -> None:
    assert len(answered()) > 10
    assert [file for _, file in answered() if not (ROOT / file).is_file()] == []


@pytest.mark.slow
def test_each_finding_of_bandit_has_its_answer() -> None:
    report = os.environ.get("D2N_BANDIT")
    if report is None:
        pytest.skip("D2N_BANDIT names no report of bandit; `make audit` makes one")
    found = json.loads((ROOT / report).read_text(encoding="utf-8"))["results"]
    by_check = Counter((one["test_id"], one["filename"].removeprefix("./")) for one in found)
    together = {check: checks for checks, _ in answered() for check in checks.split(", ")}
    grouped: Counter[tuple[str, str]] = Counter()
    for (check, file), times in by_check.items():
        grouped[together.get(check, check), file] += times
    assert grouped == answered()


def test_no_file_of_the_project_holds_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name and name != "tests/test_security.py"]
    texts = {
        path: path.read_bytes().decode("utf-8", "replace")
        for path in files
        if path.is_file() and path.stat().st_size < 2_000_000
    }
    assert len(texts) > 100
    assert [str(path) for path, text in texts.items() if _SECRET.search(text)] == []


def test_the_scan_knows_a_secret() -> None:
    assert _SECRET.search("key = AKIA" + "A" * 16)
    assert _SECRET.search("-----BEGIN " + "RSA PRIVATE KEY-----")
