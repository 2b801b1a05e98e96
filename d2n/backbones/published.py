"""Published weights of a backbone: in torch's cache or from their address, whole and with the hash of their name."""

from __future__ import annotations

import hashlib
import logging
import re
import urllib.request
from pathlib import Path

import torch

from d2n.backbones.row import Backbone
from d2n.errors import WeightsError
from d2n.files.writing import aside

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 15
_CHUNK_BYTES = 1 << 20


def is_published(backbone: Backbone, sha256: str) -> bool:
    """Whether a file's sha256 begins as one of the backbone's published weights does (their names tell).

    Where none are fetched, files of its layout are taken for those.
    """
    if backbone.classifier is None:
        return False
    urls = backbone.classifier.urls
    return not urls or any(sha256.startswith(Path(url).stem.rpartition("-")[2]) for url in urls)


def cached_file(backbone: Backbone, *, otherwise: str, download: bool = True) -> Path:
    """The backbone's best published weights in torch's cache, fetched when they are not there yet.

    Raises WeightsError where they cannot be had: put the file there, or (``otherwise``) what else can be done.
    """
    if backbone.classifier is None:
        raise WeightsError(f"no weights of {backbone.name} are published: {otherwise}")
    if not backbone.classifier.urls:
        raise WeightsError(f"the weights of {backbone.name} are not fetched, name a local file: {otherwise}")
    url = backbone.classifier.urls[0]
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    advice = f"put {path.name} into {path.parent}, or {otherwise}"
    if not download:
        raise WeightsError(f"the weights of {backbone.name} are not here: {advice}")
    try:
        fetch(url, path)
    except OSError as error:
        raise WeightsError(
            f"the weights of {backbone.name} cannot be downloaded ({error}): {advice}"
        ) from error
    return path


def fetch(url: str, path: Path) -> None:
    """Write url's file to path, whole and with the hash that its name ends in, or not at all."""
    logger.info("downloading %s", url)
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(url, timeout=_CONNECT_TIMEOUT_S) as source,  # noqa: S310 - torchvision's https address
        aside(path, durable=True) as part,
        part.open("wb") as target,
    ):
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            target.write(chunk)
        expected = re.search(r"-([0-9a-f]{8,})\.", path.name)
        if expected and not digest.hexdigest().startswith(expected[1]):
            raise OSError(f"the sha256 is {digest.hexdigest()[:8]}…, expected {expected[1]}…")
