"""Who may ask: keys and what they may do, the Host that is asked for, the page that asks. Every route, every method."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from serving import QUESTION, refused, server
from tiny_bundle import make_bundle
from understudy.errors import UsageError
from understudy.serve.config import ServeConfig
from understudy.serve.guard import Guard
from understudy.serve.keys import Keys, made_key, read_keys
from understudy.serve.routes import ROUTES

OPEN = {("GET", "/health")}
"""The routes that need no key. A new one is a decision, taken here."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "support")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    made = {scope: made_key(f"my-{scope}", scope) for scope in ("infer", "metrics", "admin")}
    path = tmp_path_factory.mktemp("keys") / "keys"
    path.write_text("# the team's\n\n" + "\n".join(line for _, line in made.values()) + "\n")
    return path, {scope: plain for scope, (plain, _) in made.items()}


@pytest.fixture(scope="module")
def locked(bundle, keys, tmp_path_factory):
    with server(tmp_path_factory.mktemp("log"), bundle, flags=("--keys", str(keys[0])), environment={"UNDERSTUDY_API_KEY": "canary-key-0123456789"}) as running:
        yield running


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_locked_unless_it_is_listed_as_open(locked, keys, route):
    path, body = route.path.replace("{model}", "support"), {} if route.method == "POST" else None
    if (route.method, route.path) in OPEN:
        assert locked.ask(path, body)[0] == 200
        return
    for wrong in ({}, bearer("us-wrong"), bearer(""), {"Authorization": "Basic eDp5"}, {"X-Api-Key": "x"}):
        status, headers, said = locked.ask(path, body, headers=wrong)
        # After twenty of them in a minute, wrong keys are no longer looked at.
        assert (status == 401 and "needs a key" in str(said["error"]) and headers["www-authenticate"] == "Bearer") or (status == 429 and "wrong keys" in str(said))
    for scope, key in keys[1].items():
        status = locked.ask(path, body, headers=bearer(key))[0]
        assert (status == 403) == (scope not in (route.scope, "admin")), (scope, status)


def test_a_key_works_in_both_headers_and_from_the_environment(locked, keys):
    for headers in (bearer(keys[1]["infer"]), {"X-Api-Key": keys[1]["infer"]}, bearer("canary-key-0123456789")):
        assert locked.ask("/v1/classify", {"inputs": QUESTION}, headers=headers)[0] == 200


def test_strange_keys_are_refused_alike_and_no_key_is_in_the_log(locked, keys):
    strange = ["' OR '1'='1", "x" * 20_000, "sha256:" + "0" * 64, keys[1]["infer"][:-1], keys[1]["infer"] + "x", "\xff\xfe", "[]", "null"]
    said = [locked.ask("/v1/models", headers=bearer(one)) for one in strange]
    assert {status for status, _, _ in said} <= {401, 429} and len({str(body) for status, _, body in said if status == 401}) <= 1
    log = locked.log.read_text("utf-8")
    assert not any(secret in log for secret in (*keys[1].values(), "canary-key", "OR '1'"))
    with open(f"/proc/{locked.process.pid}/cmdline", "rb") as file:
        assert b"canary-key" not in file.read()


def test_keys_are_kept_as_digests_and_compared_in_constant_time(keys, tmp_path):
    import inspect

    from understudy.serve import keys as module

    assert keys[1]["infer"] not in keys[0].read_text() and "compare_digest" in inspect.getsource(module.Keys.owner)
    environment = {"UNDERSTUDY_API_KEY": "a-key-of-sixteen-letters"}
    assert read_keys(None, environment).owner(b"a-key-of-sixteen-letters") and environment == {}
    for line, words in (("x", "line 1 is no key"), ("n infer sha256:" + "g" * 64, "not hexadecimal"), ("n all sha256:" + "0" * 64, "scopes 'all'")):
        (tmp_path / "keys").write_text(line)
        with pytest.raises(UsageError, match=words):
            read_keys(str(tmp_path / "keys"), {})
    with pytest.raises(UsageError, match="has 5 characters"):
        read_keys(None, {"UNDERSTUDY_API_KEY": "short"})
    with pytest.raises(UsageError, match="cannot be read"):
        read_keys(str(tmp_path / "nowhere"), {})


def test_no_public_address_without_a_key(bundle):
    for host in ("0.0.0.0", "::"):
        said = refused(str(bundle), "--host", host)
        assert "there is no key" in said["message"] and "--make-key" in said["hint"]
    with pytest.raises(UsageError, match="no key"):
        Guard(ServeConfig(host="192.0.2.1"), Keys(()), 80)


def test_a_key_is_made_once_and_only_its_digest_is_for_keeping():
    done = subprocess.run([sys.executable, "-m", "understudy.cli", "serve", "--make-key", "team", "--scopes", "infer,metrics"], capture_output=True, text=True)
    plain, line = done.stdout.split("\n")[:2]
    assert done.returncode == 0 and plain.startswith("us-") and line.startswith("team infer,metrics sha256:") and plain not in line


@pytest.fixture(scope="module")
def served(bundle, tmp_path_factory):
    flags = ("--allow-host", "models.example.org", "--allow-origin", "https://app.example.org")
    with server(tmp_path_factory.mktemp("log"), bundle, flags=flags) as running:
        yield running


METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")


def test_only_our_own_names_are_answered_by_any_method(served):
    port = served.port
    strangers = ("evil.example", f"evil.example:{port}", "127.0.0.1:1", "localhost", "localhost.evil", f"localhost.evil:{port}", f"evil@127.0.0.1:{port}",
                 f"127.0.0.1:{port}/#@x", f"192.0.2.1:{port}", "[::1]", f"models.example.org.evil:{port}", "")
    ours = (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "models.example.org", "models.example.org:443")
    for method, (host, fine) in itertools.product(METHODS, [*((one, False) for one in strangers), *((one, True) for one in ours)]):
        answer = served.raw(f"{method} /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        status = int(answer.split()[1])
        assert (status != 421) is fine, (method, host, status)
        assert not fine or status == (200 if method in ("GET", "HEAD") else 405)


@pytest.mark.parametrize("hosts", [[], ["127.0.0.1:{port}", "evil.example"], ["127.0.0.1:{port}", "127.0.0.1:{port}"]])
def test_one_host_is_needed_and_not_two(served, hosts):
    lines = "".join(f"Host: {host.format(port=served.port)}\r\n" for host in hosts)
    assert served.raw(f"GET /health HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode()).startswith(b"HTTP/1.1 400")


def test_pages_of_other_sites_are_refused_by_any_method(served):
    strangers = [{"Origin": one} for one in ("https://evil.example", "null", "https://app.example.org.evil", "http://app.example.org", "https://app.example.org:444",
                                             "file://", "http://127.0.0.1:1", "https://APP.example.org")]
    strangers += [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}]
    for method, headers in itertools.product(METHODS, strangers):
        status, told, _ = served.ask("/v1/models", method=method, headers=headers)
        assert status == 403 and "access-control-allow-origin" not in told, (method, headers)
    for headers in ({"Origin": served.address}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}):
        status, told, _ = served.ask("/v1/models", headers=headers)
        assert status == 200 and "access-control-allow-origin" not in told


def test_a_page_that_is_allowed_gets_its_own_name_back_and_nothing_else(served):
    page = {"Origin": "https://app.example.org", "Sec-Fetch-Site": "cross-site"}
    status, told, _ = served.ask("/v1/classify", {"inputs": QUESTION}, headers=page)
    assert status == 200 and told["access-control-allow-origin"] == "https://app.example.org" and told["vary"] == "Origin"
    assert "access-control-allow-credentials" not in told
    status, told, _ = served.ask("/v1/classify", method="OPTIONS", headers={**page, "Access-Control-Request-Method": "POST"})
    assert status == 200 and told["access-control-allow-methods"] == "POST" and "authorization" in told["access-control-allow-headers"]


def test_how_often_somebody_may_ask_is_exact_and_remembers_only_so_many():
    from understudy.serve.rates import _KNOWN, Rates

    now = [0.0]
    rates = Rates(60, clock=lambda: now[0])
    assert [rates.wait("a") for _ in range(60)] == [0.0] * 60 and rates.wait("a") == pytest.approx(1.0) and rates.wait("b") == 0
    now[0] = 10.0
    assert [rates.wait("a") for _ in range(10)] == [0.0] * 10 and rates.wait("a") > 0 and rates.left("b") == 59
    for number in range(2 * _KNOWN):
        rates.wait(f"somebody {number}")
    assert len(rates._buckets) == _KNOWN


def test_a_key_that_asks_too_often_is_told_when_to_come_back_and_others_are_not(bundle, keys, tmp_path):
    with server(tmp_path, bundle, flags=("--keys", str(keys[0]), "--rate", "10")) as served:
        said = [served.ask("/v1/classify", {"inputs": QUESTION}, headers=bearer(keys[1]["infer"])) for _ in range(14)]
        assert [status for status, _, _ in said] == [200] * 10 + [429] * 4
        assert 1 <= int(said[-1][1]["retry-after"]) <= 8 and said[-1][2]["error"]["type"] == "rate_limit_error"
        assert served.ask("/v1/classify", {"inputs": QUESTION}, headers=bearer(keys[1]["admin"]))[0] == 200
        assert served.ask("/health")[0] == 200


def test_who_tries_keys_is_slowed_down_and_who_has_one_is_not(bundle, keys, tmp_path):
    with server(tmp_path, bundle, flags=("--keys", str(keys[0]))) as served:
        said = [served.ask("/v1/models", headers=bearer(f"us-{number}"))[0] for number in range(30)]
        assert said[:20] == [401] * 20 and set(said[22:]) == {429}
        assert served.ask("/v1/models", headers=bearer(keys[1]["infer"]))[0] == 200
