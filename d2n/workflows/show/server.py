"""The page over HTTP, for this machine's browser alone.

Requests under another host's name are refused (a page elsewhere cannot reach it by a name that leads here), and what
computes takes a header that a page elsewhere cannot send.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.middleware.trustedhost import TrustedHostMiddleware

from d2n.errors import D2NError, ImageError
from d2n.workflows.show.desk import MAX_BYTES, TOP, Desk, Photograph

logger = logging.getLogger(__name__)
_HERE = Path(__file__).parent
_PAGES = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined)
_OURS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FILES = {"show.css": "text/css", "show.js": "text/javascript"}


def serve(desk: Desk, host: str, port: int, announce: Callable[[str], object]) -> None:
    """Serve until interrupted; ``announce`` gets the address once it answers."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            """Say so once it answers."""
            await super().startup(sockets)
            if self.started:
                announce(f"http://{host}:{port}/")

    config = uvicorn.Config(
        application(desk),
        host=host,
        port=port,
        log_level="warning",
        limit_concurrency=64,
        server_header=False,
    )
    Server(config).run()


def application(desk: Desk) -> FastAPI:
    """The page's application."""
    app = FastAPI(title="d2n show", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])

    @app.middleware("http")
    async def guarded(request: Request, answer: Any) -> Response:
        response: Response = await answer(request)
        response.headers.update(_OURS)
        return response

    @app.exception_handler(D2NError)
    async def refused(_: Request, error: D2NError) -> JSONResponse:
        status = 422 if isinstance(error, ImageError) else 500
        return JSONResponse({"error": str(error)}, status)

    _add_pages(app, desk)
    _add_photographs(app, desk)
    return app


def _add_pages(app: FastAPI, desk: Desk) -> None:
    @app.get("/")
    def page() -> Response:
        text = _PAGES.get_template("page.html").render(desk=desk, max_mb=MAX_BYTES >> 20, top=TOP)
        return Response(text, media_type="text/html")

    @app.get("/files/{name}")
    def file(name: str) -> Response:
        if name not in _FILES:
            raise HTTPException(404)
        return Response((_HERE / name).read_text(encoding="utf-8"), media_type=_FILES[name])


def _add_photographs(app: FastAPI, desk: Desk) -> None:
    @app.post("/photographs")
    async def take(request: Request, x_d2n: Annotated[str, Header()] = "") -> dict[str, Any]:
        if not x_d2n:
            raise HTTPException(403, "only the page itself may send photographs")
        content = await _bounded(request)
        key = await run_in_threadpool(desk.take, content)
        photograph = _there(desk, key)
        height, width = photograph.image.shape[:2]
        return {"key": key, "width": width, "height": height, "warnings": desk.warnings(photograph)}

    @app.get("/photographs/{key}/{which}.jpg")
    def picture(key: str, which: str) -> Response:
        photograph = _there(desk, key)
        try:
            return Response(desk.picture(photograph, which), media_type="image/jpeg")
        except KeyError:
            raise HTTPException(404) from None

    @app.get("/photographs/{key}/{which}/hits")
    def hits(key: str, which: str) -> list[dict[str, Any]]:
        photograph = _there(desk, key)
        try:
            return desk.found(photograph, which)
        except KeyError:
            raise HTTPException(404) from None

    @app.get("/folder/{number}.jpg")
    def thumbnail(number: int) -> Response:
        if desk.hits is None or not 0 <= number < len(desk.hits.names):
            raise HTTPException(404)
        return Response(desk.hits.thumbnail(number), media_type="image/jpeg")


def _there(desk: Desk, key: str) -> Photograph:
    photograph = desk.get(key)
    if photograph is None:
        raise HTTPException(404, "this photograph is no longer here: send it again")
    return photograph


async def _bounded(request: Request) -> bytes:
    """What was sent, if it is not too much: no more than the bound is ever held."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise HTTPException(413, f"the file is over {MAX_BYTES >> 20} MB; send a smaller one")
        parts.append(part)
    return b"".join(parts)
