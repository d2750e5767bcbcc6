"""The gateway's refusals: what happened, why and what to do next, in zh and en.

One table of words; three shapes: problem+json (RFC 9457), the OpenAI error object under /v1, and
problem+json with the `error` member of the Open Inference Protocol under /v2.
"""

import json
from typing import NamedTuple

from marketplace.gateway.wire import Headers


class Words(NamedTuple):
    """Title, cause and next step in one language; braces name facts."""

    title: str
    detail: str
    next: str


class Refusal(Exception):
    """A request that the gateway answers itself. `facts` fill the words and stand in the answer."""

    def __init__(
        self, status: int, code: str, *, close: bool = False, headers: Headers | None = None, **facts: object
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.close = status, code, close
        self.headers: Headers = headers or []
        self.facts = facts


REFUSALS: dict[str, tuple[Words, Words]] = {
    "bad-request": (
        Words("请求格式错误", "HTTP 请求不合规：{why}。", "请使用标准的 HTTP/1.1 客户端。"),
        Words(
            "Malformed request",
            "The HTTP request breaks the rules: {why}.",
            "Use a standard HTTP/1.1 client.",
        ),
    ),
    "headers-too-large": (
        Words("请求头过大", "请求行与请求头超过 {limit} 字节或 {count} 项。", "请减少请求头或缩短地址。"),
        Words(
            "Request headers too large",
            "Request line and headers are over {limit} bytes or {count} fields.",
            "Send fewer headers or a shorter address.",
        ),
    ),
    "request-timeout": (
        Words("请求超时", "客户端在 {seconds} 秒内没有发完请求。", "请检查网络后重试。"),
        Words(
            "Request timeout",
            "The client did not finish the request within {seconds} seconds.",
            "Check the network and send it again.",
        ),
    ),
    "method-not-allowed": (
        Words("不支持该方法", "这里不接受 {method} 方法。", "请改用 {allow}。"),
        Words("Method not allowed", "{method} is not taken here.", "Use {allow}."),
    ),
    "upgrade-unsupported": (
        Words("不支持协议升级", "网关不支持 WebSocket。", "请用普通 HTTP 请求；流式结果用 SSE。"),
        Words(
            "Protocol upgrade not supported",
            "The gateway does not speak WebSocket.",
            "Send a plain HTTP request; streams come as server-sent events.",
        ),
    ),
    "expectation-failed": (
        Words("不支持的 Expect", "只支持 Expect: 100-continue。", "请去掉 Expect 请求头。"),
        Words("Expectation failed", "Only Expect: 100-continue is known.", "Leave the Expect header out."),
    ),
    "not-found": (
        Words("没有这个地址", "网关不认识 {path}。", "请核对地址；部署的地址是 /d/部署名/…。"),
        Words(
            "Not found",
            "The gateway does not know {path}.",
            "Check the address; a deployment lies under /d/<deployment>/….",
        ),
    ),
    "key-missing": (
        Words("缺少密钥", "这个地址需要部署的密钥。", "请加上请求头 Authorization: Bearer <密钥>。"),
        Words(
            "Key missing",
            "This address needs a key of the deployment.",
            "Send the header Authorization: Bearer <key>.",
        ),
    ),
    "key-invalid": (
        Words(
            "密钥无效",
            "没有这个密钥，或它已过期、已被撤销。",
            "请核对密钥，或用 market keys new 部署名 新建一个。",
        ),
        Words(
            "Key not valid",
            "There is no such key, or it has expired or was revoked.",
            "Check the key, or make one with: market keys new DEPLOYMENT.",
        ),
    ),
    "key-not-for-deployment": (
        Words(
            "密钥不适用",
            "这个密钥不能用于部署 {deployment}。",
            "请用该部署自己的密钥：market keys new {deployment}。",
        ),
        Words(
            "Key not for this deployment",
            "This key does not open the deployment {deployment}.",
            "Use a key of that deployment: market keys new {deployment}.",
        ),
    ),
    "unknown-deployment": (
        Words("没有这个部署", "没有名为 {deployment} 的部署。", "用 market ps 查看全部部署。"),
        Words(
            "Unknown deployment",
            "No deployment is called {deployment}.",
            "See all deployments with: market ps.",
        ),
    ),
    "deployment-not-live": (
        Words(
            "部署尚未就绪",
            "部署 {deployment} 的状态是 {state}。",
            "请稍后重试，或用 market logs {deployment} 查看原因。",
        ),
        Words(
            "Deployment not live",
            "The deployment {deployment} is {state}.",
            "Try again soon, or see why with: market logs {deployment}.",
        ),
    ),
    "body-too-large": (
        Words(
            "请求体过大", "请求体超过上限 {limit} 字节。", "请缩小或分批发送；上限由 MARKET_MAX_BODY 设定。"
        ),
        Words(
            "Body too large",
            "The body is over the limit of {limit} bytes.",
            "Send less, or in parts; MARKET_MAX_BODY sets the limit.",
        ),
    ),
    "body-not-json": (
        Words(
            "请求体不是 JSON", "/v1 的请求体必须是 JSON 对象：{why}。", "请发送 JSON，并在 model 中写部署名。"
        ),
        Words(
            "Body is not JSON",
            "A request under /v1 must be a JSON object: {why}.",
            "Send JSON with the deployment's name in model.",
        ),
    ),
    "model-missing": (
        Words("缺少 model", "请求体里没有字符串 model。", "请在 model 中写部署名；GET /v1/models 列出全部。"),
        Words(
            "Model missing",
            "The body has no string called model.",
            "Put the deployment's name there; GET /v1/models lists them.",
        ),
    ),
    "upstream-gone": (
        Words(
            "模型服务中断",
            "部署 {deployment} 的服务没有回答：{why}。",
            "请重试；若持续出现，看 market logs {deployment}。",
        ),
        Words(
            "Model server gone",
            "The server of {deployment} did not answer: {why}.",
            "Try again; if it stays so, see: market logs {deployment}.",
        ),
    ),
    "upstream-timeout": (
        Words(
            "模型服务超时",
            "部署 {deployment} 在 {seconds} 秒内没有开始回答。",
            "请发送更小的请求，或看 market logs {deployment}。",
        ),
        Words(
            "Model server timeout",
            "The server of {deployment} did not begin to answer within {seconds} seconds.",
            "Send a smaller request, or see: market logs {deployment}.",
        ),
    ),
    "shop-starting": (
        Words("商店正在启动", "商店进程还没有回答。", "请几秒后重试。"),
        Words(
            "The shop is starting", "The shop's process does not answer yet.", "Try again in a few seconds."
        ),
    ),
    "too-many-connections": (
        Words("连接过多", "网关的连接数已到上限。", "请稍后重试，并复用连接。"),
        Words(
            "Too many connections",
            "The gateway holds all the connections it can.",
            "Try again later; reuse connections.",
        ),
    ),
    "internal-error": (
        Words("网关内部错误", "网关处理请求时出错。", "请重试；若持续出现，请看网关的日志。"),
        Words(
            "Internal error",
            "The gateway failed on this request.",
            "Try again; if it stays so, see the gateway's log.",
        ),
    ),
}

_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def language_of(accept: bytes, default: str = "zh") -> str:
    """zh or en, whichever the Accept-Language header likes more; the default where it names neither."""
    best, liked = default, 0.0
    for part in accept.decode("latin-1").lower().split(","):
        tag, _, quality = part.strip().partition(";")
        try:
            weight = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            weight = 0.0
        if tag[:2] in ("zh", "en") and weight > liked:
            best, liked = tag[:2], weight
    return best


def render(refusal: Refusal, path: str, language: str) -> tuple[bytes, Headers]:
    """Body and headers of a refusal in the shape of the API that `path` belongs to."""
    words = REFUSALS[refusal.code][0 if language == "zh" else 1]
    facts = {name: str(value) for name, value in refusal.facts.items()}
    title, detail, step = (text.format_map(facts) for text in words)
    if path == "/v1" or path.startswith("/v1/"):
        message = f"{detail} {step}" if language == "en" else detail + step
        kind = _OPENAI_TYPES.get(
            refusal.status, "invalid_request_error" if refusal.status < 500 else "server_error"
        )
        answer: dict[str, object] = {
            "error": {"message": message, "type": kind, "code": refusal.code, "param": None}
        }
        media = b"application/json"
    else:
        answer = {
            "type": "about:blank",
            "title": title,
            "status": refusal.status,
            "code": refusal.code,
            "detail": detail,
            "next": step,
        }
        if refusal.facts:
            answer["facts"] = refusal.facts
        if path == "/v2" or path.startswith("/v2/"):
            answer["error"] = f"{title}: {detail}"
        media = b"application/problem+json"
    headers: Headers = [
        (b"content-type", media),
        (b"content-language", b"zh-CN" if language == "zh" else b"en"),
        (b"cache-control", b"no-store"),
        *refusal.headers,
    ]
    return json.dumps(answer, ensure_ascii=False).encode(), headers


def starting_page(language: str) -> tuple[bytes, Headers]:
    """What a browser sees while the shop starts: a page that asks again by itself."""
    title, detail, step = REFUSALS["shop-starting"][0 if language == "zh" else 1]
    page = (
        f'<!doctype html><html lang="{"zh-CN" if language == "zh" else "en"}"><head><meta charset="utf-8">'
        '<meta http-equiv="refresh" content="1"><meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width"><title>OPC Market</title></head>'
        f"<body><main><h1>{title}</h1><p>{detail} {step}</p></main></body></html>"
    )
    headers: Headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", b"default-src 'none'"),
        (b"cache-control", b"no-store"),
        (b"retry-after", b"1"),
    ]
    return page.encode(), headers
