"""Passwords and tokens, taken out of whatever is printed, logged or stored.

A password stands in a URL (``postgresql://me:PASSWORD@host``, ``?token=…``), or it was remembered from one: a driver
may name a part of it alone.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TypeVar, cast
from urllib.parse import quote, quote_plus, unquote, unquote_plus

E = TypeVar("E", bound=BaseException)

MASK = "***"
_SHORTEST = 4  # of a remembered secret: shorter ones are parts of other words
_END = r"\s\"'<>`"  # what ends a URL in a text
_KEY = (  # the name of a secret in a query
    r"(?:[\w.-]{0,40}(?:password|passwd|passphrase|pwd|secret|token|signature|credential|auth|"
    r"api[_-]?key|(?:access|account|private|shared)[_-]?key)[\w.-]{0,40}|pass|sig|key)"
)
# bounded, so that a megabyte without a space takes no longer than its length
# scheme://user:password@ up to the last @ of the word; a port is no password; a path keeps one of the slashes
_LOGIN = re.compile(
    rf"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{{0,30}}://?)(?!\[)([^:/@?#{_END}]{{0,100}}):"
    rf"(?!\d{{1,5}}(?:[/?#]|$))([^{_END}]{{0,300}})@"
)
_TOKEN_LOGIN = re.compile(rf"(https?://)(?!\*)([^:/@?#{_END}]{{1,300}})@", re.IGNORECASE)
_IN_QUERY = re.compile(rf"([?&;#]{_KEY}=)([^&;#{_END}]+)", re.IGNORECASE)
_IN_DSN = re.compile(
    r"\b((?:ssl)?(?:password|passwd|pwd)\s*=\s*)('(?:\\.|[^'\\])*'|[^\s,;&\"']+)", re.IGNORECASE
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PORT = re.compile(r"\d{1,5}(?:[/?#]|$)")
_SECRET_VARIABLE = re.compile(r"(?i)password|passwd|secret|token$")
_URL_VARIABLE = re.compile(r"(?i)_ur[il]$|_proxy$|_storage$|_root$|_dsn$")

_remembered: set[str] = set()


def scrub(text: str) -> str:
    """A message without passwords: those of URLs in it, and every remembered one, wherever it stands."""
    text = _IN_DSN.sub(rf"\1{MASK}", scrub_urls(text))
    for secret in sorted(_remembered | _of_environment(), key=len, reverse=True):
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])", MASK, text)
    return text


def scrub_urls(text: str) -> str:
    """A value to be stored, without the passwords of URLs in it; all else stays as it is."""
    if ":/" not in text and "=" not in text:
        return text
    text = _LOGIN.sub(rf"\1\2:{MASK}@", text)
    return _IN_QUERY.sub(rf"\1{MASK}", _TOKEN_LOGIN.sub(rf"\1{MASK}@", text))


def scrub_values(value: Any) -> Any:
    """``scrub_urls`` of every text in nested mappings, lists and tuples."""
    if isinstance(value, str):
        return scrub_urls(value)
    if isinstance(value, Mapping):
        return {key: scrub_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub_values(item) for item in value]
    return value


def scrub_error(error: E) -> E:
    """The error itself, its texts and those of the errors behind it scrubbed: a trace shows them all."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        current.args = tuple(scrub(part) if isinstance(part, str) else part for part in current.args)
        if isinstance(message := getattr(current, "message", None), str):  # MLflow's
            cast(Any, current).message = scrub(message)
        current = current.__cause__ or current.__context__
    return error


def remember(url: str) -> None:
    """Take note of the secrets in a URL that the user gave, well-formed or not (``me:PASSWORD@host``)."""
    _remembered.update(_secrets_of(url))


def install() -> None:
    """From now on log records, warnings and traces of this process are scrubbed. Once is enough."""
    if not isinstance(logging.getLogRecordFactory(), _RecordFactory):
        logging.setLogRecordFactory(_RecordFactory(logging.getLogRecordFactory()))
    if warnings.formatwarning is not _formatted:
        warnings.formatwarning = _formatted
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = show
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _show_threads


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The scrubbed trace on stderr, as Python would write it."""
    sys.stderr.write(scrub("".join(traceback.format_exception(kind, error, trace))))


class _RecordFactory:
    """Makes log records whose text and trace are scrubbed already, whichever handler writes them."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._inner(*args, **kwargs)
        try:
            record.msg, record.args = scrub(record.getMessage()), ()
        except (TypeError, ValueError, KeyError):
            return record  # arguments that do not fit: logging's own complaint follows
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = scrub("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        return record


_format_warning = warnings.formatwarning


def _formatted(message: Any, category: Any, filename: str, lineno: int, line: str | None = None) -> str:
    return scrub(_format_warning(message, category, filename, lineno, line))


def _show_threads(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        show(args.exc_type, args.exc_value, args.exc_traceback)


def _secrets_of(url: str) -> set[str]:
    found = [value for _, value in _IN_QUERY.findall(url)]
    common: set[str] = {MASK}
    scheme = _SCHEME.match(url)
    rest = url[scheme.end() :] if scheme else url
    login, at, address = rest.rpartition("@")
    user, colon, password = login.partition(":")
    if at and colon and not (scheme and _PORT.match(password)):
        found += [password, *re.split(r"[@/:?#]", password)]
        common |= {user, unquote(user), *re.split(r"[/:?#]", address)}  # such a word cannot be hidden
    elif at and scheme and scheme.group().lower() in ("http://", "https://"):
        found.append(login)
    spellings = {how(value) for value in found for how in (str, unquote, unquote_plus, quote, quote_plus)}
    return {value for value in spellings - common if len(value) >= _SHORTEST}


def _of_environment() -> set[str]:
    """Secrets that the process got in its environment: URLs with a login, proxies, keys."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if _URL_VARIABLE.search(name) and ("@" in value or "=" in value):
            found |= _secrets_of(value)
        elif _SECRET_VARIABLE.search(name) and len(value) >= 2 * _SHORTEST:
            found.add(value)
    return found
