"""The knobs of a run that are no params: one tag keeps them, so that the pages show those that tell."""

from __future__ import annotations

import json
from collections.abc import Mapping

from d2n.tracking import names


def text(knobs: Mapping[str, str]) -> str:
    """The tag's text."""
    return json.dumps(dict(knobs), sort_keys=True, ensure_ascii=False)


def read(tags: Mapping[str, str]) -> dict[str, str]:
    """Name → text; ValueError where someone edited the tag, nothing where there is none."""
    if names.KNOBS not in tags:
        return {}
    values = json.loads(tags[names.KNOBS])
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ValueError("it holds no object of texts")
    return values


def whole(tags: Mapping[str, str], params: Mapping[str, str]) -> dict[str, str]:
    """A run's params with the knobs that are none; the params alone where the tag was edited by hand."""
    try:
        return {**read(tags), **params}
    except (ValueError, RecursionError):
        return dict(params)
