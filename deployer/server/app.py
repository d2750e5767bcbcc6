"""The server's routes as one bare ASGI application over one predictor.

Decoding, the model and encoding run in a pool of threads, so that the event loop only moves bytes. The
queue before the pool is bounded: beyond it a request is answered 429 at once.
"""

import asyncio
import hmac
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deployer.server import openai, openapi, openinference
from deployer.server.bodies import Bodies, Receive
from deployer.server.http import Request, Response, json_response, read_form, read_object
from deployer.server.metrics import Metrics
from deployer.server.predictor import BadInput, Predictor, Words
from deployer.server.problems import Problem

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Request], Response]

QUEUE = 64  # inferences that may wait, beyond those that run

log = logging.getLogger("market.server")


class App:
    """One model behind its protocols. `stopping` turns readiness off and refuses new inferences."""

    def __init__(
        self,
        predictor: Predictor,
        name: str,
        *,
        threads: int = 1,
        key: str = "",
        load_seconds: float = 0.0,
    ) -> None:
        self.predictor = predictor
        self.name = name
        self.key = key.encode()
        self.created = openai.now()
        self.stopping = False
        self.metrics = Metrics(load_seconds)
        self.bodies = Bodies()
        self.threads = max(1, threads)
        self.pool = ThreadPoolExecutor(self.threads, thread_name_prefix="infer")
        self.routes = self._routes()

    def _routes(self) -> dict[str, tuple[str, Handler, bool]]:
        """Pattern → method, handler, and whether it runs the model (in the pool, behind the queue)."""
        model = "/v2/models/{model}"
        predictor, name = self.predictor, self.name
        routes: dict[str, tuple[str, Handler, bool]] = {
            "/healthz": ("GET", self._ready, False),
            "/metrics": ("GET", self._metrics, False),
            "/openapi.json": ("GET", lambda request: openapi.document(name, predictor), False),
            "/predict": ("POST", self._predict, True),
            "/v1/models": ("GET", lambda request: openai.models(name, self.created), False),
            "/v1/models/{model}": ("GET", lambda request: openai.model(name, self.created), False),
            "/v1/embeddings": ("POST", lambda request: openai.embeddings(request, name, predictor), True),
            "/v2": ("GET", lambda request: openinference.server_metadata(), False),
            "/v2/health/live": ("GET", lambda request: json_response({"live": True}), False),
            "/v2/health/ready": ("GET", self._ready, False),
        }
        for prefix in (model, model + "/versions/{version}"):
            describe = "GET", lambda request: openinference.model_metadata(name, predictor), False
            run = "POST", lambda request: openinference.infer(request, name, predictor), True
            routes |= {
                prefix: describe,
                prefix + "/ready": ("GET", self._ready, False),
                prefix + "/infer": run,
            }
        return routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's entry; only http is spoken."""
        if scope["type"] != "http":
            raise RuntimeError(f"not spoken here: {scope['type']}")
        started = time.perf_counter()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(scope["method"], scope["path"], headers)
        pattern = "other"
        self.metrics.in_flight += 1
        try:
            try:
                pattern = self._match(request.path)
                request, response = await self._answer(pattern, request, receive)
            except ConnectionResetError:
                return  # the caller left before the body was whole
            except Exception as error:
                response = self._refuse(error, request)
            await _send(response, send)
            self.metrics.observe(pattern, response.status, time.perf_counter() - started, response.tokens)
        finally:
            self.metrics.in_flight -= 1

    def _match(self, path: str) -> str:
        """The pattern that a path belongs to; refuses another model's name and unknown versions."""
        parts = path.rstrip("/").split("/")
        if parts[1:3] in (["v1", "models"], ["v2", "models"]) and len(parts) > 3:
            if parts[3] != self.name:
                raise openai.unknown_model(parts[3], self.name)
            parts[3] = "{model}"
            if parts[4:5] == ["versions"] and len(parts) > 5:
                if parts[5] != openinference.VERSION:
                    cause = Words(
                        f"{self.name} has version {openinference.VERSION} only.",
                        f"{self.name} 只有版本 {openinference.VERSION}。",
                    )
                    raise Problem("unknown-model", cause)
                parts[5] = "{version}"
        pattern = "/".join(parts)
        if pattern not in self.routes:
            raise Problem(
                "not-found", Words(f"No route is called {path[:80]}.", f"没有名为 {path[:80]} 的地址。")
            )
        return pattern

    async def _answer(self, pattern: str, request: Request, receive: Receive) -> tuple[Request, Response]:
        method, handler, runs_model = self.routes[pattern]
        if request.method != method and not (request.method == "HEAD" and method == "GET"):
            said = request.method
            cause = Words(f"{said} was sent; {method} is allowed.", f"收到的是 {said}，只支持 {method}。")
            raise Problem("method-not-allowed", cause, headers={"Allow": method})
        self._authorize(pattern, request)
        if not runs_model:
            return request, handler(request)
        if self.stopping:
            cause = Words(
                "It was asked to stop and finishes what it has.", "服务已收到停止请求，正在完成已有任务。"
            )
            raise Problem("stopping", cause, headers={"Retry-After": "1"})
        async with self.bodies.read(request, receive) as body:
            request = Request(request.method, request.path, request.headers, body)
            return request, await self._run(handler, request)

    async def _run(self, handler: Handler, request: Request) -> Response:
        if self.metrics.queued >= self.threads + QUEUE:
            waiting = self.metrics.queued
            cause = Words(
                f"{waiting} requests are waiting or running.", f"有 {waiting} 个请求正在等待或处理。"
            )
            raise Problem("overloaded", cause, headers={"Retry-After": "1"})
        self.metrics.queued += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, handler, request)
        finally:
            self.metrics.queued -= 1

    def _authorize(self, pattern: str, request: Request) -> None:
        if not self.key or pattern == "/healthz" or pattern.startswith("/v2/health/"):
            return
        sent = request.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(sent, b"Bearer " + self.key):
            cause = Words("This server answers only with its key.", "本服务需要密钥才能访问。")
            raise Problem("unauthorized", cause, headers={"WWW-Authenticate": "Bearer"})

    def _refuse(self, error: Exception, request: Request) -> Response:
        """A refusal in the reader's language; what nobody foresaw is logged under an id, never shown."""
        if isinstance(error, BadInput):
            error = Problem.of(error)
        if not isinstance(error, Problem):
            id = uuid.uuid4().hex[:12]
            log.error("request failed", exc_info=error, extra={"id": id, "path": request.path[:200]})
            cause = Words(f"It is logged under the id {id}.", f"已记入日志，编号 {id}。")
            error = Problem("internal", cause, facts={"id": id})
        content_type, body = error.body(request.path, request.language)
        return Response(
            body, error.status, content_type, {"Content-Language": request.language, **error.headers}
        )

    def _predict(self, request: Request) -> Response:
        """POST /predict: JSON, a multipart form, or the main field's bytes as the body itself."""
        schema = self.predictor.schema
        main = str(schema.get("x-field", ""))
        kind = request.media_type
        if kind == "multipart/form-data":
            body = read_form(request)
        elif kind.startswith(("image/", "audio/")) or kind == "application/octet-stream":
            body = {main: request.body}
        elif kind in ("", "application/json") or kind.endswith("+json") or _looks_like_json(request):
            body = read_object(request.body)
        else:
            raise Problem(
                "unsupported-media-type", Words(f"{kind[:80]} was sent.", f"收到的是 {kind[:80]}。")
            )
        openapi.check_fields(body, schema)
        answer = self.predictor.predict(body)
        tokens = answer["usage"].get("prompt_tokens", 0) if isinstance(answer.get("usage"), dict) else 0
        return json_response(answer, tokens=tokens)

    def _ready(self, request: Request) -> Response:
        if self.stopping:
            raise Problem(
                "stopping", Words("It takes no new work.", "不再接受新任务。"), headers={"Retry-After": "1"}
            )
        return json_response({"name": self.name, "ready": True})

    def _metrics(self, request: Request) -> Response:
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        return Response(self.metrics.text().encode(), content_type=content_type)

    def close(self) -> None:
        """Let running work end, then let go of the model."""
        self.pool.shutdown(wait=True)
        self.predictor.close()


def _looks_like_json(request: Request) -> bool:
    """curl -d sends JSON under a form's type when none is named."""
    return request.media_type == "application/x-www-form-urlencoded" and request.body.lstrip()[:1] == b"{"


async def _send(response: Response, send: Send) -> None:
    headers = [
        (b"content-type", response.content_type.encode()),
        (b"content-length", str(len(response.body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in response.headers.items()),
    ]
    if response.tokens:
        headers.append((b"x-usage-tokens", str(response.tokens).encode()))  # the gateway counts them
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})
