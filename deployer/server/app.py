"""The server's routes over one predictor: what each request is, and where it is worked.

A route either answers at once from what is known, or hands the scheduler a work that runs the model.
"""

import asyncio
import hmac
import logging
import uuid
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from deployer.server import openai, openapi, openinference
from deployer.server.batching import Answering, Cost, Job, Scheduler
from deployer.server.errors import BadInput, Words
from deployer.server.front import Exchange
from deployer.server.http import Request, Response, json_response, read_form, read_object
from deployer.server.metrics import Metrics
from deployer.server.predictor import Predictor, ReadsCsv
from deployer.server.problems import Problem
from deployer.server.providers import Device

DEADLINE = 900.0  # seconds for an answer, the wait for its turn included; the gateway waits as long

log = logging.getLogger("market.server")


class Route(NamedTuple):
    """A pattern with its method and what answers it: `tell` at once, or `work` by running the model."""

    pattern: str
    method: str
    tell: Callable[[Request], Response] | None
    work: Callable[[Request], Answering] | None
    cost: Cost


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
        deadline: float = DEADLINE,
        device: Device | None = None,
    ) -> None:
        self.predictor = predictor
        self.name = name
        self.key = key.encode()
        self.created = openai.now()
        self.stopping = False
        self.deadline = deadline
        self.threads = threads
        self.device = device or Device()
        self.metrics = Metrics(load_seconds, name, self.device)
        self.routes = self._routes()
        # The same with this model's name in it: one look for the usual request.
        self.paths = {_path(pattern, name): route for pattern, route in self.routes.items()}
        self.scheduler: Scheduler

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the runners."""
        self.loop = loop
        self.scheduler = Scheduler(self.threads, loop, self)
        self.metrics.scheduler = self.scheduler

    def close(self) -> None:
        """End what runs, and let go of the model."""
        self.scheduler.close()
        if self.scheduler.ended:
            self.predictor.close()

    # Routes.

    def _routes(self) -> dict[str, Route]:
        model, predictor, name = "/v2/models/{model}", self.predictor, self.name
        protocol = openinference.OpenInference(name, predictor, self.device)
        told: dict[str, Callable[[Request], Response]] = {
            "/healthz": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": lambda request: openapi.document(name, predictor),
            "/v1/models": lambda request: openai.models(name, self.created),
            "/v1/models/{model}": lambda request: openai.model(name, self.created),
            "/v2": protocol.server_metadata,
            "/v2/health/live": lambda request: json_response({"live": True}),
            "/v2/health/ready": self._ready,
        }
        worked: dict[str, Callable[[Request], Answering]] = {"/predict": self._predict}
        for path, route in openai.ROUTES.items():
            worked[path] = partial(route.answer, name=name, predictor=predictor)
        for prefix in (model, model + "/versions/{version}"):
            told[prefix] = protocol.model_metadata
            told[prefix + "/ready"] = self._ready
            worked[prefix + "/infer"] = protocol.infer
        routes = {pattern: Route(pattern, "GET", tell, None, Cost()) for pattern, tell in told.items()}
        routes |= {pattern: Route(pattern, "POST", None, work, Cost()) for pattern, work in worked.items()}
        return routes

    def _match(self, path: str) -> Route:
        """The route of a path; refuses another model's name and unknown versions."""
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
        route = self.routes.get("/".join(parts))
        if route is None:
            raise Problem(
                "not-found", Words(f"No route is called {path[:80]}.", f"没有名为 {path[:80]} 的地址。")
            )
        return route

    # What the front asks for.

    def admit(self, request: Request) -> Route:
        """The route of a request whose head is here; refuses what needs no body to be refused."""
        route = self.paths.get(request.path) or self._match(request.path)
        method = request.method
        if method != route.method and not (method == "HEAD" and route.method == "GET"):
            cause = Words(
                f"{method} was sent; {route.method} is allowed.",
                f"收到的是 {method}，只支持 {route.method}。",
            )
            raise Problem("method-not-allowed", cause, headers={"Allow": route.method})
        if self.key:
            self._authorize(route.pattern, request)
        if self.stopping and route.work:
            cause = Words(
                "It was asked to stop and finishes what it has.", "服务已收到停止请求，正在完成已有任务。"
            )
            raise Problem("stopping", cause, headers={"Retry-After": "1"})
        return route

    def _authorize(self, pattern: str, request: Request) -> None:
        if pattern == "/healthz" or pattern.startswith("/v2/health/"):
            return
        scheme, _, sent = request.headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(sent.strip(), self.key):
            cause = Words("This server answers only with its key.", "本服务需要密钥才能访问。")
            raise Problem("unauthorized", cause, headers={"WWW-Authenticate": "Bearer"})

    def handle(self, exchange: Exchange) -> None:
        """Answer a request, or give its work to the scheduler."""
        route: Route = exchange.route
        self._enter(exchange)
        try:
            if route.work is None:
                assert route.tell is not None
                self._answer(exchange, route.tell(exchange.request))
                return
            deadline = exchange.started + self.deadline
            exchange.job = job = Job(route.work(exchange.request), route.cost, exchange, deadline)
            self.scheduler.submit(job, len(exchange.request.body))
        except Exception as error:
            self._answer(exchange, self._refusal(error, exchange.request))

    def refuse(self, exchange: Exchange, problem: Problem) -> None:
        """Answer with a refusal."""
        self._enter(exchange)
        self._answer(exchange, self._refusal(problem, exchange.request))

    def abandon(self, exchange: Exchange) -> None:
        """Stop working for a caller who has gone."""
        if exchange.job is not None:
            self.scheduler.cancel(exchange.job)
        self._leave(exchange)

    def resume(self, exchange: Exchange) -> None:
        """Go on with a streamed answer."""
        if exchange.job is not None:
            self.scheduler.resume(exchange.job)

    def sweep(self) -> None:
        """Refuse the requests whose time is over."""
        for job in self.scheduler.expire(self.loop.time()):
            cause = Words(f"It took more than {self.deadline:.0f} s.", f"超过了 {self.deadline:.0f} 秒。")
            self.answer(job, None, Problem("timed-out", cause))

    # What the scheduler asks for.

    def answer(self, job: Job, response: Response | None, error: Exception | None) -> None:
        """Send the end of a job."""
        exchange: Exchange = job.caller
        if exchange.streaming:
            if error is None:
                exchange.end()
                self._observe(exchange, 200, response.tokens if response else 0)
            else:
                self._refusal(error, exchange.request)  # too late to be told, but it is logged
                self._leave(exchange)
                exchange.abort()
        elif error is None and response is not None:
            self._answer(exchange, response)
        else:
            lost = error or RuntimeError("a work ended without an answer")
            self._answer(exchange, self._refusal(lost, exchange.request))

    def part(self, job: Job, item: Response | bytes) -> None:
        """Send a part of a streamed answer, and go on when the caller keeps up."""
        exchange: Exchange = job.caller
        if isinstance(item, Response):
            exchange.respond(item)
        else:
            exchange.send(item)
        if not exchange.connection.congested:
            self.scheduler.resume(job)

    # Answers.

    def _answer(self, exchange: Exchange, response: Response) -> None:
        exchange.respond(response)
        self._observe(exchange, response.status, response.tokens)

    def _observe(self, exchange: Exchange, status: int, tokens: int) -> None:
        self._leave(exchange)
        pattern = exchange.route.pattern if exchange.route else "other"
        seconds = self.loop.time() - exchange.started
        self.metrics.observe(pattern, status, seconds, tokens)

    def _enter(self, exchange: Exchange) -> None:
        exchange.open = True
        self.metrics.in_flight += 1

    def _leave(self, exchange: Exchange) -> None:
        if exchange.open:
            exchange.open = False
            exchange.job = None  # which holds the exchange
            self.metrics.in_flight -= 1

    def _refusal(self, error: Exception, request: Request) -> Response:
        """A refusal in the reader's language; what nobody foresaw is logged under an id, never shown."""
        if isinstance(error, BadInput):
            error = Problem.of(error)
        if not isinstance(error, Problem):
            id = uuid.uuid4().hex[:12]
            log.error("request failed", exc_info=error, extra={"id": id, "path": request.path[:200]})
            cause = Words(f"It is logged under the id {id}.", f"已记入日志，编号 {id}。")
            error = Problem("internal", cause, facts={"id": id})
        content_type, body = error.body(request.path, request.language)
        headers = {"Content-Language": request.language, **error.headers}
        return Response(body, error.status, content_type, headers)

    def _predict(self, request: Request) -> Answering:
        """POST /predict: JSON, a multipart form, or the main field's bytes as the body itself."""
        schema = self.predictor.schema
        main = str(schema.get("x-field", ""))
        kind = request.media_type
        if kind == "multipart/form-data":
            body = read_form(request)
        elif kind.startswith(("image/", "audio/")) or kind == "application/octet-stream":
            body = {main: request.body}
        elif kind == "text/csv" and isinstance(self.predictor, ReadsCsv):
            body = self.predictor.read_csv(request.body, request.charset)
        elif kind in ("", "application/json") or kind.endswith("+json") or _looks_like_json(request):
            body = read_object(request.body)
        else:
            raise Problem(
                "unsupported-media-type", Words(f"{kind[:80]} was sent.", f"收到的是 {kind[:80]}。")
            )
        openapi.check_fields(body, schema)
        answer = yield from self.predictor.predict(body)
        usage = answer.get("usage")
        tokens = usage.get("prompt_tokens", 0) if isinstance(usage, dict) else 0
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


def _path(pattern: str, name: str) -> str:
    return pattern.replace("{model}", name).replace("{version}", openinference.VERSION)


def _looks_like_json(request: Request) -> bool:
    """curl -d sends JSON under a form's type when none is named."""
    return request.media_type == "application/x-www-form-urlencoded" and request.body.lstrip()[:1] == b"{"
