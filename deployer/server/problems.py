"""What the server says when it refuses: one table of problems, in English and Chinese.

The same refusal is written in the shape of the route's protocol: OpenAI's under /v1, problem+json with
the protocol's "error" under /v2, plain problem+json elsewhere.
"""

from typing import Any

import msgspec

from deployer.server.errors import BadInput, Words

TITLES: dict[str, tuple[int, Words, Words]] = {
    # code: (status, title, next step)
    "bad-input": (
        400,
        Words("The input does not fit the model", "输入不符合模型要求"),
        Words("Compare the input with what is expected, then try again.", "请对照期望的格式修改后重试。"),
    ),
    "bad-json": (
        400,
        Words("The body is not valid JSON", "请求体不是有效的 JSON"),
        Words("Correct the JSON at the place named and send it again.", "请修正所指位置的 JSON 后重新发送。"),
    ),
    "bad-multipart": (
        400,
        Words("The multipart body cannot be read", "无法读取 multipart 请求体"),
        Words("Send the form as `curl -F field=@file` does.", "请按 `curl -F 字段=@文件` 的格式发送表单。"),
    ),
    "bad-request": (
        400,
        Words("This is not a request that can be read", "无法读取该请求"),
        Words("Send an HTTP/1.1 request.", "请发送 HTTP/1.1 请求。"),
    ),
    "unauthorized": (
        401,
        Words("The key is missing or wrong", "密钥缺失或不正确"),
        Words(
            "Send the deployment's key as `Authorization: Bearer …`.",
            "请在 Authorization: Bearer 中发送密钥。",
        ),
    ),
    "not-found": (
        404,
        Words("There is nothing at this address", "此地址不存在"),
        Words("See /openapi.json for the routes of this server.", "请在 /openapi.json 查看全部地址。"),
    ),
    "unknown-model": (
        404,
        Words("This server has no such model", "本服务没有这个模型"),
        Words("GET /v1/models names the model that is served.", "GET /v1/models 会列出所提供的模型。"),
    ),
    "method-not-allowed": (
        405,
        Words("The method is not allowed here", "此地址不支持该请求方法"),
        Words("Use the method in the Allow header.", "请使用 Allow 响应头中的方法。"),
    ),
    "slow-body": (
        408,
        Words("The body did not arrive in time", "请求体未能及时送达"),
        Words("Send the request again in one go.", "请重新一次性发送请求。"),
    ),
    "too-large": (
        413,
        Words("The body is too large", "请求体过大"),
        Words("Send less at a time.", "请减少每次发送的数据量。"),
    ),
    "unsupported-media-type": (
        415,
        Words("The type of the body is not supported", "不支持该类型的请求体"),
        Words("Send JSON, a multipart form or the file itself.", "请发送 JSON、multipart 表单或文件本身。"),
    ),
    "overloaded": (
        429,
        Words("The server has more work than it can take", "服务当前负载已满"),
        Words("Send the request again after the time in Retry-After.", "请在 Retry-After 所示时间后重试。"),
    ),
    "internal": (
        500,
        Words("The server made a mistake", "服务器内部错误"),
        Words("Look the id up in the deployment's log.", "请用此编号查询部署的日志。"),
    ),
    "timed-out": (
        504,
        Words("The answer took too long", "处理超时"),
        Words(
            "Send less at a time, or try again when there is less to do.",
            "请减少每次发送的数据量，或在空闲时重试。",
        ),
    ),
    "stopping": (
        503,
        Words("The server is stopping", "服务正在停止"),
        Words("Send the request again shortly.", "请稍后重试。"),
    ),
}


class Problem(Exception):
    """A refusal by its code in TITLES, with the cause in words and facts for programs."""

    def __init__(
        self,
        code: str,
        cause: Words,
        *,
        headers: dict[str, str] | None = None,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(code, cause.en)
        self.code = code
        self.cause = cause
        self.status, self.title, self.next = TITLES[code]
        self.headers = headers or {}
        self.facts = facts or {}

    @classmethod
    def of(cls, error: BadInput) -> "Problem":
        """The refusal of an input: where, why, and what was expected."""
        en = f"{error.where}: {error.why.en}."
        zh = f"{error.where}：{error.why.zh}。"
        if error.expected.en:
            en += f" Expected: {error.expected.en}"
            zh += f"期望：{error.expected.zh}"
        facts = {"where": error.where}
        if error.expected.en:
            facts["expected"] = error.expected.en
        return cls("bad-input", Words(en, zh), facts=facts)

    def body(self, path: str, language: str) -> tuple[str, bytes]:
        """Content type and body in the shape of the protocol that `path` belongs to."""
        detail = self.cause.pick(language)
        if path.startswith("/v1/"):
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
            error = {"message": detail, "type": kind, "param": self.facts.get("where"), "code": self.code}
            return "application/json", msgspec.json.encode({"error": error})
        problem: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title.pick(language),
            "status": self.status,
            "code": self.code,
            "detail": detail,
            "next": self.next.pick(language),
        }
        if self.facts:
            problem["facts"] = self.facts
        if path.startswith("/v2"):
            problem["error"] = detail
        return "application/problem+json", msgspec.json.encode(problem)
