"""Opening every image once: size, bytes and hash, remembered by size and mtime so that a second walk is short."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from d2n.datasets.images import check_image
from d2n.datasets.index import inside
from d2n.errors import DataError, ImageError
from d2n.files.fields import check_fields
from d2n.files.json import parse_json
from d2n.files.refusals import why
from d2n.files.writing import write_bytes
from d2n.pixels import read

logger = logging.getLogger(__name__)

SMALLEST_SIDE_PX = 8
"""No set can use less; such an image is counted as bad."""
_CHUNK = 256


@dataclass(frozen=True)
class Probe:
    """What one look at a file found."""

    path: str
    size_bytes: int
    mtime_ns: int
    width: int = 0
    height: int = 0
    sha256: str = ""
    problem: str = ""  # one line, begins with the path; "": a whole image


def scan_images(
    root: Path,
    paths: Iterable[str],
    memory: Path | None = None,
    workers: int = 2,
    progress: bool = False,
) -> dict[str, Probe]:
    """A Probe for each path below ``root``, read in ``workers`` threads (decoding and hashing release the lock).

    ``memory`` is a file that keeps what was found as it is found: an interrupted walk goes on where it was, and a
    file of unchanged size and mtime is not read again.
    """
    wanted = list(dict.fromkeys(paths))
    known = load_probes(memory) if memory is not None else {}
    real_root = os.path.realpath(root)
    found: dict[str, Probe] = {}
    todo: list[str] = []
    for path in wanted:
        probe = known.get(path)
        if probe is not None and probe.sha256 and _unchanged(real_root, probe):
            found[path] = probe
        else:
            todo.append(path)
    bar = tqdm(total=len(todo), desc="images", unit="img", disable=None if progress else True)
    with bar, ThreadPoolExecutor(max(1, workers)) as pool:
        for chunk in _chunks(todo):
            probes = list(pool.map(lambda path: probe_image(real_root, path), chunk))
            found.update((probe.path, probe) for probe in probes)
            if memory is not None:
                _append(memory, probes)
            bar.update(len(chunk))
    if memory is not None and len(found) < sum(1 for _ in _lines(memory)):
        write_bytes(memory, b"".join(_line(probe) for probe in {**known, **found}.values()))
    return found


def probe_image(real_root: str, path: str) -> Probe:
    """Read, hash and decode one file; what is wrong with it is in ``problem``, nothing is raised."""
    try:
        full = inside(real_root, path)
        content = read(full, path)
        stat = full.stat()
    except ImageError as error:
        return Probe(path, -1, -1, problem=str(error))
    except (OSError, DataError) as error:
        return Probe(path, -1, -1, problem=f"{path}: {error}")
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        width, height = check_image(content, path)
    except ImageError as error:
        return Probe(path, stat.st_size, stat.st_mtime_ns, sha256=sha256, problem=str(error))
    small = min(width, height) < SMALLEST_SIDE_PX
    problem = (
        f"{path}: {width} x {height} px is too small, expected at least {SMALLEST_SIDE_PX}" if small else ""
    )
    return Probe(path, stat.st_size, stat.st_mtime_ns, width, height, sha256, problem)


def load_probes(memory: Path) -> dict[str, Probe]:
    """What earlier walks found, the latest word of each path; a line cut short by an interruption is passed over."""
    probes = {}
    for line in _lines(memory):
        try:
            values = parse_json(line, str(memory))
            check_fields(Probe, values, str(memory), DataError)
            probe = Probe(**values)
        except (DataError, TypeError):
            logger.info("%s: a line that was cut short is passed over", memory)
            continue
        probes[probe.path] = probe
    return probes


def scan_path(folder: str | Path, name: str) -> Path:
    """Where the memory of walks lies, beside the index."""
    return Path(folder) / f"d2n-scan-{name}.jsonl"


def expected_hash_problem(probe: Probe, expected: str) -> str:
    """One line when a label file names another sha256, else ""."""
    if not expected or probe.problem or probe.sha256 == expected.lower():
        return ""
    return f"{probe.path}: its bytes have sha256 {probe.sha256[:12]}, the labels say {expected[:12].lower()}"


def problems_of(probes: Mapping[str, Probe], expected: Mapping[str, str]) -> dict[str, str]:
    """The one-line problem of each path that has one; ``expected`` is sha256 by path."""
    lines = {
        path: p.problem or expected_hash_problem(p, expected.get(path, "")) for path, p in probes.items()
    }
    return {path: line for path, line in lines.items() if line}


def _unchanged(real_root: str, probe: Probe) -> bool:
    try:
        stat = inside(real_root, probe.path).stat()
    except (OSError, DataError):
        return False
    return (stat.st_size, stat.st_mtime_ns) == (probe.size_bytes, probe.mtime_ns)


def _chunks(paths: list[str]) -> Iterator[list[str]]:
    rest = iter(paths)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _lines(memory: Path) -> Iterator[bytes]:
    try:
        with memory.open("rb") as file:
            yield from file
    except FileNotFoundError:
        return


def _line(probe: Probe) -> bytes:
    return json.dumps(asdict(probe), ensure_ascii=True).encode() + b"\n"


def _append(memory: Path, probes: list[Probe]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with memory.open("a+b") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                cut_short = file.read(1) != b"\n"  # an earlier walk was killed while it wrote
                file.write(b"\n" if cut_short else b"")
            file.write(b"".join(map(_line, probes)))
    except OSError as error:
        raise DataError(
            f"{memory}: cannot be written ({why(error, memory)}); give a folder for the index with --out"
        ) from error
