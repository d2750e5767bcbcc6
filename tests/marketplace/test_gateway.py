"""The gateway between real clients and real servers: routes, keys, streams, retries, usage."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import openai
import pytest

from marketplace.gateway.problems import REFUSALS, language_of
from tests.marketplace.peers import DEADLINE, KEY, OTHER_KEY, House, Server, house, read_head, wait_for

AUTH = b"Authorization: Bearer " + KEY.encode() + b"\r\n"


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def place(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("gw"), loop=request.param) as built:
        yield built


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    """A house of one test's own, for tests that count or break things."""
    with house(tmp_path) as built:
        yield built


def test_a_deployments_routes_lie_under_d(place: House) -> None:
    status, headers, body = place.call("POST", "/d/echo/predict?a=1", b'{"text": "x"}')
    seen = json.loads(body)
    assert status == 200
    assert (seen["method"], seen["path"], seen["query"]) == ("POST", "/predict", "a=1")
    assert seen["body"] == '{"text": "x"}'
    assert headers["x-content-type-options"] == "nosniff"
    assert json.loads(place.call("GET", "/d/echo")[2])["path"] == "/"
    assert json.loads(place.call("GET", "/d/echo/")[2])["path"] == "/"


def test_everything_else_goes_to_the_shop(place: House) -> None:
    status, headers, body = place.call("GET", "/api/listings?q=%E4%B8%AD", key="mk_shop", Cookie="session=me")
    seen = json.loads(body)
    assert status == 200
    assert seen["server"] == "shop"
    assert (seen["path"], seen["query"]) == ("/api/listings", "q=%E4%B8%AD")
    sent = dict(seen["headers"])
    assert sent["authorization"] == "Bearer mk_shop"
    assert sent["cookie"] == "session=me"
    assert headers["set-cookie"] == "session=1"
    assert "content-security-policy" not in headers


def test_a_replica_sees_neither_key_nor_cookie(place: House) -> None:
    _, headers, body = place.call("GET", "/d/echo/x", Cookie="session=me")
    sent = dict(json.loads(body)["headers"])
    assert "authorization" not in sent
    assert "cookie" not in sent
    assert "set-cookie" not in headers


def test_the_upstreams_own_key_is_sent(place: House) -> None:
    place.shop.put("sealed", place.serve(place.replica), key="up_1")
    place.settle()
    sent = dict(json.loads(place.call("GET", "/d/sealed/x")[2])["headers"])
    assert sent["authorization"] == "Bearer up_1"


def test_forwarded_headers_are_replaced(place: House) -> None:
    for path in ("/d/echo/x", "/page"):
        _, _, body = place.call(
            "GET",
            path,
            X_Forwarded_For="6.6.6.6",
            X_Forwarded_Host="evil",
            Forwarded="for=6.6.6.6",
            X_Real_IP="6",
        )
        sent = json.loads(body)["headers"]
        assert [v for k, v in sent if k == "x-forwarded-for"] == ["127.0.0.1"]
        assert [v for k, v in sent if k == "x-forwarded-host"] == [f"127.0.0.1:{place.port}"]
        assert [v for k, v in sent if k == "x-forwarded-proto"] == ["http"]
        assert not [k for k, _ in sent if k in ("forwarded", "x-real-ip")]


def test_hop_by_hop_headers_stay_here(place: House) -> None:
    _, headers, body = place.call(
        "GET", "/d/echo/x", Connection="keep-alive, X-Secret", X_Secret="1", TE="trailers", Keep_Alive="5"
    )
    names = [k for k, _ in json.loads(body)["headers"]]
    assert not {"x-secret", "te", "keep-alive", "connection"} & set(names)
    assert "x-private" not in headers  # the server named it in its Connection header


@pytest.mark.parametrize(
    ("path", "key", "status", "code"),
    [
        ("/d/echo/x", "", 401, "key-missing"),
        ("/d/echo/x", "mk_wrong", 401, "key-invalid"),
        ("/d/none/x", KEY, 404, "unknown-deployment"),
        ("/d/echo/x", OTHER_KEY, 403, "key-not-for-deployment"),
        ("/d/asleep/x", KEY, 503, "deployment-not-live"),
        ("/v2/models/none/infer", KEY, 404, "unknown-deployment"),
        ("/v2/nonsense", KEY, 404, "not-found"),
    ],
)
def test_refusals_say_what_why_and_what_next(
    place: House, path: str, key: str, status: int, code: str
) -> None:
    place.shop.allow(OTHER_KEY, "sealed", key_id="key-2")
    place.shop.put("asleep", "", state="starting")
    place.settle()
    for language in ("zh-CN,zh;q=0.9", "en-GB", ""):
        got, headers, body = place.call("GET", path, key=key, Accept_Language=language)
        problem = json.loads(body)
        assert (got, problem["code"], problem["status"]) == (status, code, status)
        assert headers["content-type"] == "application/problem+json"
        assert all(problem[field] for field in ("type", "title", "detail", "next"))
        assert ("部署" in str(problem) or "密钥" in str(problem) or "地址" in str(problem)) == (
            language != "en-GB"
        )
        assert ("error" in problem) == path.startswith("/v2")
        assert (status == 401) == ("www-authenticate" in headers)
        assert (status == 503) == ("retry-after" in headers)
        assert KEY not in body.decode()


def test_every_refusal_has_words_in_both_languages() -> None:
    for chinese, english in REFUSALS.values():
        assert all(chinese) and all(english)
        assert any(ord(c) > 0x2E80 for c in "".join(chinese))
        assert all(ord(c) < 0x2E80 for c in "".join(english))


def test_languages_by_preference() -> None:
    assert language_of(b"") == "zh"
    assert language_of(b"de, en;q=0.5, zh;q=0.4") == "en"
    assert language_of(b"en;q=0.2, zh-TW") == "zh"
    assert language_of(b"fr", "en") == "en"
    assert language_of(b"en;q=x") == "zh"


def test_openai_client(place: House) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{place.port}/v1", api_key=KEY, max_retries=0)
    with client:
        made = client.embeddings.create(model="echo", input="hello", encoding_format="float")
        assert made.data[0].embedding == [0.5, 5.0]
        assert "echo" in [m.id for m in client.models.list()]
        assert client.models.retrieve("echo").id == "echo"
        with pytest.raises(openai.NotFoundError) as unknown:
            client.embeddings.create(model="none", input="x")
        assert unknown.value.code == "unknown-deployment"
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="mk_wrong").models.list()
        with pytest.raises(openai.BadRequestError) as bad:
            client.post("/embeddings", body={"input": "x"}, cast_to=object)
        assert bad.value.code == "model-missing"


def test_openai_forms_name_their_model_in_a_field(place: House) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{place.port}/v1", api_key=KEY, max_retries=0) as client:
        sent = {"file": ("a.wav", b'RIFF\r\n--x\r\nname="model"\r\n\r\nnone', "audio/wav")}
        answer = client.post(
            "/audio/transcriptions",
            body={"model": "echo"},
            files=sent,
            options={"headers": {"Content-Type": "multipart/form-data"}},
            cast_to=object,
        )
        assert answer
        with pytest.raises(openai.NotFoundError) as unknown:
            client.audio.transcriptions.create(model="none", file=sent["file"])
        assert unknown.value.code == "unknown-deployment"
    kind = "multipart/form-data; boundary=b"
    for body in (b"", b"--b--", b'--b\r\nContent-Disposition: form-data; name="models"\r\n\r\necho\r\n--b--'):
        status, _, refused = place.call("POST", "/v1/audio/transcriptions", body, Content_Type=kind)
        assert (status, json.loads(refused)["error"]["code"]) == (400, "model-missing")


def test_openai_stream_arrives_word_by_word(place: House) -> None:
    place.replica.gate.clear()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{place.port}/v1", api_key=KEY) as client:
        stream = client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": "count"}], stream=True
        )
        words = iter(stream)
        assert next(words).choices[0].delta.content == "one"  # the second is not sent before the gate opens
        place.replica.gate.set()
        assert next(words).choices[0].delta.content == "two"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"[" * 100_000, b"\xff\xfe"])
def test_openai_bodies_that_are_no_json_object(place: House, body: bytes) -> None:
    status, _, answer = place.call("POST", "/v1/embeddings", body, Accept_Language="en")
    assert (status, json.loads(answer)["error"]["code"]) == (400, "body-not-json")
    assert place.call("GET", "/v1/embeddings")[0] == 405


def test_models_shows_what_the_key_may_use(place: House) -> None:
    place.shop.allow(OTHER_KEY, "echo", key_id="key-2")
    place.shop.put("asleep", "", state="starting")
    place.settle()
    listed = json.loads(place.call("GET", "/v1/models", key=OTHER_KEY)[2])
    assert [m["id"] for m in listed["data"]] == ["echo"]
    listed = json.loads(place.call("GET", "/v1/models")[2])
    assert "asleep" not in [m["id"] for m in listed["data"]]


def test_open_inference_protocol(place: House) -> None:
    assert json.loads(place.call("GET", "/v2", key="")[2])["name"] == "opc-market"
    assert json.loads(place.call("GET", "/v2/health/live", key="")[2]) == {"live": True}
    assert json.loads(place.call("GET", "/v2/health/ready", key="")[2]) == {"ready": True}
    seen = json.loads(place.call("POST", "/v2/models/echo/versions/1/infer", b"\x00\x01")[2])
    assert seen["path"] == "/v2/models/echo/versions/1/infer"
    assert seen["body"] == "\x00\x01"


def test_events_arrive_before_the_next_is_sent(place: House) -> None:
    place.replica.gate.clear()
    with place.wire() as wire:
        wire.send(b"GET /d/echo/sse HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n")
        assert b"data: first" in wire.until(b"first\n\n\r\n")
        place.replica.gate.set()
        assert b"data: second" in wire.until(b"0\r\n\r\n")


def test_a_client_that_leaves_ends_the_upstreams_work(place: House) -> None:
    place.replica.gate.clear()
    before = place.replica.disconnects
    with place.wire() as wire:
        wire.send(b"GET /d/echo/sse HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n")
        wire.until(b"first\n\n")
    wait_for(lambda: place.replica.disconnects > before, "the replica's disconnect")
    with place.wire() as wire:
        wire.send(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").until(b"hello\n\n")
    wait_for(lambda: place.shop.disconnects, "the shop's disconnect")


@pytest.mark.parametrize("path", ["/d/echo/x", "/api/x"])
@pytest.mark.parametrize("size", [0, 1, 300_000, 900_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_pass_whole(place: House, path: str, size: int, chunked: bool) -> None:
    body = os.urandom(size)
    pieces = (body[i : i + 50_000] for i in range(0, size, 50_000)) if chunked else body
    status, _, answer = place.call("POST", path, pieces)
    seen = json.loads(answer)
    assert status == 200
    assert (seen["length"], seen["sha256"]) == (size, hashlib.sha256(body).hexdigest())


def test_keep_alive_and_pipelining(place: House) -> None:
    request = b"POST /d/echo/%d HTTP/1.1\r\nHost: x\r\n" + AUTH + b"Content-Length: 1\r\n\r\n%d"
    with place.wire() as wire:
        wire.send(b"".join(request % (n, n) for n in range(9)))
        for n in range(9):
            status, _, body = wire.response()
            assert status == 200
            assert json.loads(body)["path"] == f"/{n}"
            assert json.loads(body)["body"] == str(n)


def test_two_hundred_connections_never_mix_answers(place: House) -> None:
    def talk(client: int) -> None:
        connection = HTTPConnection("127.0.0.1", place.port, timeout=DEADLINE)
        for turn in range(5):
            marker = f"{client}-{turn}"
            path = f"/d/echo/{marker}" if turn % 2 else f"/shop/{marker}"
            connection.request("POST", path, marker * 50, {"Authorization": f"Bearer {KEY}"})
            seen = json.loads(connection.getresponse().read())
            assert seen["path"].endswith(f"/{marker}")
            assert seen["body"] == marker * 50
        connection.close()

    with ThreadPoolExecutor(200) as crowd:
        list(crowd.map(talk, range(200)))


def test_head_and_bodiless_statuses(place: House) -> None:
    with place.wire() as wire:
        head = b"HEAD /d/echo/x HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n"
        wire.send(head)
        first = wire.until(b"\r\n\r\n")
        assert b" 200 OK" in first and b"content-length" in first
        for status in (204, 304):
            wire.send(b"GET /d/echo/status?%d HTTP/1.1\r\nHost: x\r\n" % status + AUTH + b"\r\n")
            assert b" %d " % status in wire.until(b"\r\n\r\n")
        wire.send(head)
        assert b" 200 OK" in wire.until(b"\r\n\r\n")
        wire.send(b"HEAD /d/none/x HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n")
        assert b" 404 Not Found" in wire.until(b"\r\n\r\n")
        assert wire.buffer == b""


def test_http_1_0(place: House) -> None:
    with place.wire() as wire:
        wire.send(b"GET /d/echo/big?2 HTTP/1.0\r\n" + AUTH + b"\r\n")
        head, _, body = wire.rest().partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert body == b"b" * 131072
    with place.wire() as wire:
        wire.send(b"GET /d/echo/x HTTP/1.0\r\nConnection: keep-alive\r\n" + AUTH + b"\r\n")
        status, headers, _ = wire.response()
        assert (status, headers["connection"]) == (200, "keep-alive")


def test_expect_100_continue(place: House) -> None:
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n%b\r\n"
    for path in (b"/d/echo/x", b"/shop"):
        with place.wire() as wire:
            wire.send(head % (path, AUTH))
            assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            wire.send(b"ok")
            status, _, body = wire.response()
            assert status == 200
            assert json.loads(body)["body"] == "ok"
    with place.wire() as wire:  # refused before the body: no 100, and the connection ends
        wire.send(head % (b"/d/echo/x", b""))
        status, headers, _ = wire.response()
        assert (status, headers["connection"]) == (401, "close")
        assert wire.rest() == b""
    with place.wire() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n")
        assert wire.response()[0] == 417


def test_an_early_answer_reaches_a_client_that_still_sends(place: House) -> None:
    with place.wire() as wire:
        wire.send(b"POST /d/echo/early HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n" + AUTH + b"\r\n")
        wire.send(b"x" * 400_000)
        assert wire.response()[0] == 422
        wire.send(b"x" * 500_000)
    with place.wire() as wire:
        wire.send(b"POST /d/echo/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789")
        assert wire.response()[0] == 401
        wire.send(b"GET /d/echo/x HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n")
        assert wire.response()[0] == 200


@pytest.mark.parametrize("path", ["/d/echo/x", "/v1/embeddings", "/v2/models/echo/infer"])
def test_body_over_the_limit(place: House, path: str) -> None:
    size = place.shop.max_body + 1
    for pieces in (b"x" * size, (b"x" * 65536 for _ in range(size // 65536 + 1))):
        status, _, answer = place.call("POST", path, pieces)
        code = json.loads(answer)["error"]["code"] if path.startswith("/v1") else json.loads(answer)["code"]
        assert (status, code) == (413, "body-too-large")


def test_a_slow_client_stops_the_server_and_a_slow_server_the_client(place: House) -> None:
    blocks = 1600  # 100 MiB
    with place.wire() as wire:
        wire.send(b"GET /d/echo/big?%d HTTP/1.1\r\nHost: x\r\n" % blocks + AUTH + b"\r\n")
        wire.until(b"\r\n\r\n")
        still = [-1]

        def stopped() -> bool:
            was, still[0] = still[0], place.replica.sent
            threading.Event().wait(0.05)
            return was == place.replica.sent > 0

        wait_for(stopped, "back-pressure")
        assert place.replica.sent < 32 << 20
        wire.skip_to(b"\r\n0\r\n\r\n")
        assert place.replica.sent == blocks * 65536
    place.replica.gate.clear()
    place.shop.max_body = 256 << 20
    place.shop.version += 1
    place.settle()
    body = b"y" * (64 << 20)
    with place.wire() as wire:
        wire.send(
            b"POST /d/echo/slow-reader HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % len(body)
            + AUTH
            + b"\r\n"
        )
        wire.socket.setblocking(False)
        sent = 0

        def blocked() -> bool:
            nonlocal sent
            try:
                while sent < len(body):
                    sent += wire.socket.send(body[sent : sent + 65536])
            except BlockingIOError:
                was = sent
                threading.Event().wait(0.2)
                try:
                    sent += wire.socket.send(body[sent : sent + 65536])
                except BlockingIOError:
                    return sent == was
            return False

        wait_for(blocked, "back-pressure")
        assert sent < 40 << 20
        place.replica.gate.set()
        wire.socket.settimeout(DEADLINE)
        wire.send(body[sent:])
        seen = json.loads(wire.response()[2])
        assert seen["sha256"] == hashlib.sha256(body).hexdigest()
    place.shop.max_body = 1 << 20
    place.shop.version += 1
    place.settle()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_stale_connection_is_replaced_once(own: House) -> None:
    def script(connection: socket.socket, number: int) -> None:
        read_head(connection)
        connection.sendall(OK)
        if number == 1:
            read_head(connection)  # takes the second request, and goes away without a word
            return
        while read_head(connection):
            connection.sendall(OK)

    raw = own.raw(script)
    for _ in range(3):
        assert own.call("POST", "/d/raw/x", b"small")[0] == 200
    assert raw.connections == 2


def test_a_new_connection_that_breaks_is_not_tried_again(own: House) -> None:
    def script(connection: socket.socket, number: int) -> None:
        read_head(connection)

    raw = own.raw(script)
    status, _, body = own.call("POST", "/d/raw/x", b"small")
    assert (status, json.loads(body)["code"]) == (502, "upstream-gone")
    assert raw.connections == 1
    assert own.call("POST", "/v2/models/raw/infer", b"x" * 500_000)[0] == 502


@pytest.mark.parametrize("address", ["unix:/nowhere.sock", "tcp:127.0.0.1:1", "nonsense"])
def test_an_upstream_that_is_not_there(own: House, address: str) -> None:
    own.shop.put("gone", address)
    own.settle()
    status, _, body = own.call("GET", "/d/gone/x", Accept_Language="en")
    assert (status, json.loads(body)["code"]) == (502, "upstream-gone")
    status, _, body = own.call("POST", "/v1/embeddings", b'{"model": "gone"}')
    assert (status, json.loads(body)["error"]["type"]) == (502, "server_error")


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
def test_an_upstream_that_dies_in_the_middle_is_not_taken_for_whole(own: House, head: bytes) -> None:
    def script(connection: socket.socket, number: int) -> None:
        read_head(connection)
        connection.sendall(head)

    own.raw(script)
    with own.wire() as wire:
        wire.send(b"GET /d/raw/x HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n")
        got = wire.rest()
        assert b"0\r\n\r\n" not in got
        assert got.count(b"HTTP/1.1") <= 1
    wait_for(lambda: own.shop.usage().get(("raw", "key-1"), {}).get("errors") == 1, "the error in the usage")


@pytest.mark.parametrize(
    "answer",
    [
        b"SMTP ready\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
    ],
)
def test_an_upstream_that_talks_nonsense(own: House, answer: bytes) -> None:
    def script(connection: socket.socket, number: int) -> None:
        read_head(connection)
        connection.sendall(answer)
        connection.recv(1)

    own.raw(script)
    status, _, body = own.call("GET", "/d/raw/x")
    assert (status, json.loads(body)["code"]) == (502, "upstream-gone")


def test_interim_answers_and_bodies_until_the_end(own: House) -> None:
    def script(connection: socket.socket, number: int) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n\r\nuntil ")
        connection.sendall(b"the end")

    own.raw(script)
    status, headers, body = own.call("GET", "/d/raw/x")
    assert (status, body) == (200, b"until the end")
    assert "link" not in headers


def test_kill_of_a_server_process_in_the_middle(own: House) -> None:
    program = (
        "import socket,sys\n"
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)\n"
        "c, _ = s.accept(); c.recv(65536)\n"
        "c.sendall(b'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n')\n"
        "c.sendall(b'4\\r\\nhalf\\r\\n'); c.recv(1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        own.shop.put("victim", f"tcp:127.0.0.1:{int(child.stdout.readline())}")
        own.settle()
        with own.wire() as wire:
            wire.send(b"GET /d/victim/x HTTP/1.1\r\nHost: x\r\n" + AUTH + b"\r\n").until(b"half\r\n")
            child.kill()
            assert wire.rest() == b""
        child.wait()
    assert own.call("GET", "/d/victim/x")[0] == 502
    assert own.call("GET", "/d/echo/x")[0] == 200


def test_usage_adds_up_and_survives_a_shop_that_fails(own: House) -> None:
    own.shop.allow(OTHER_KEY, "echo", key_id="key-2")
    own.settle()
    own.shop.refuse_usage = 3
    for _ in range(4):
        own.call("POST", "/d/echo/x", b"12345")
    sizes = [len(own.call("POST", "/d/echo/x", b"1", key=OTHER_KEY)[2]) for _ in range(3)]
    own.call("GET", "/d/echo/status?500")
    own.call("GET", "/d/echo/x", key="mk_wrong")
    own.call("GET", "/d/none/x")
    wait_for(lambda: sum(t["requests"] for t in own.shop.usage().values()) == 8, "all usage")
    mine, other = own.shop.usage()[("echo", "key-1")], own.shop.usage()[("echo", "key-2")]
    assert (mine["requests"], mine["errors"], mine["tokens"], mine["bytes_in"]) == (5, 1, 12, 20)
    assert (other["requests"], other["errors"], other["tokens"]) == (3, 0, 9)
    assert other["bytes_out"] == sum(sizes)
    assert mine["seconds"] > 0
    wait_for(lambda: own.gateway.usage._batch is None, "the last batch")
    assert len(own.shop.deliveries) > len(own.shop.batches)  # a refused batch came again under its own id


def test_the_last_routes_hold_while_the_shop_is_away(own: House) -> None:
    own.shop.version = 500
    own.settle()
    own.shop.stop()
    assert own.call("GET", "/d/echo/x")[0] == 200
    status, headers, body = own.call("GET", "/api/shelf")
    assert (status, json.loads(body)["code"], headers["retry-after"]) == (503, "shop-starting", "1")
    status, headers, page = own.call("GET", "/", Accept="text/html", Accept_Language="en")
    assert status == 503
    assert headers["content-type"].startswith("text/html")
    assert b"refresh" in page and b"starting" in page
    own.call("GET", "/d/echo/x")
    # It comes back counting from 2, which is less than what we know: all is read anew at once.
    own.shop.version, own.shop.asked = 2, []
    own.shop.routes["second"] = own.shop.routes["echo"]
    own.shop.start()
    wait_for(lambda: own.gateway.table.version == 2, "the routes of the new shop")
    assert own.call("GET", "/d/second/x")[0] == 200
    wait_for(lambda: 2 in own.shop.asked, "word that version 2 is in force")
    assert own.call("GET", "/api/shelf")[0] == 200
    wait_for(
        lambda: own.shop.usage().get(("echo", "key-1"), {}).get("requests") == 2, "usage of the time between"
    )


def test_a_route_that_changes_takes_new_requests_at_once(own: House) -> None:
    async def other(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"0")]})  # type: ignore[operator]
        await send({"type": "http.response.body"})  # type: ignore[operator]

    server = Server(own.peers, other)
    own._servers.append(server)
    assert own.call("GET", "/d/echo/x")[0] == 200
    own.shop.put("echo", server.address)
    own.settle()
    assert own.call("GET", "/d/echo/x")[0] == 201


def test_a_post_to_the_shop_is_never_sent_twice(own: House) -> None:
    for _ in range(3):
        assert own.call("POST", "/api/deployments", b"{}")[0] == 200
    own.shop.stop()
    assert own.call("POST", "/api/deployments", b"{}")[0] == 503
    own.shop.start()
    wait_for(lambda: own.call("GET", "/x")[0] == 200, "the shop")
    assert own.shop.posts == 3


def test_starts_light_and_serves_as_a_process(tmp_path: Path) -> None:
    program = (
        "import marketplace.gateway.__main__, sys\n"
        "heavy = {'litestar', 'sqlmodel', 'sqlalchemy', 'pydantic', 'httpx', 'uvicorn', 'numpy', 'click'}\n"
        "status = open('/proc/self/status').read()\n"
        "print(sorted(heavy & set(sys.modules)), status.split('VmRSS:')[1].split()[0])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    heavy, kilobytes = shown.rsplit(" ", 1)
    assert heavy == "[]"
    assert int(kilobytes) < 50_000
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        environment = os.environ | {
            "MARKET_HOME": str(tmp_path),
            "MARKET_LISTEN_FD": str(listener.fileno()),
            "MARKET_LIFELINE": "stdin",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "marketplace.gateway"],
            env=environment,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[listener.fileno()],
        ) as child:
            connection = HTTPConnection(*listener.getsockname(), timeout=DEADLINE)
            connection.request("GET", "/v2/health/ready")
            assert json.loads(connection.getresponse().read()) == {"ready": False}
            connection.close()
            assert child.stdin is not None
            child.stdin.close()  # the parent is gone
            assert child.wait(DEADLINE) == 0
