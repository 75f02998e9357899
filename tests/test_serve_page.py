"""The page for people, in a real browser: every task is tried, nothing is asked of anybody else, and it fits."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from fakellm import fake_llm
from serving import server
from test_docs import ROOT
from tiny_bundle import make_bundle
from tiny_writer import make_writer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("xllamacpp", reason="needs the extra 'generate'")
api = pytest.importorskip("playwright.sync_api", reason="the page was not looked at: playwright is not installed")
browsing = pytest.mark.skipif(CHROMIUM is None, reason="the page was not looked at: no browser here (apt-get install chromium)")
NASTY = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundles")
    bundles = [make_bundle(root / "support"), make_writer(root / "talk"), make_writer(root / "story", "lm"), ROOT / "examples/tatoeba/en-de", ROOT / "examples/papers/tldr"]
    with server(tmp_path_factory.mktemp("log"), *bundles) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page that keeps what it complains about (`trouble`) and whom it asks (`asked`)."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.trouble, page.asked = [], []
    page.on("console", lambda message: page.trouble.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


def opened(page, served, model):
    page.goto(f"{served.address}/#{model}")
    page.wait_for_function("name => document.querySelector('h2')?.textContent === name", arg=model)


def said(page, text):
    """The answer to a text, once it is whole."""
    page.fill("#text", text)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".answer .quiet, .answer .problem")
    return page.inner_text(".answer")


def test_the_page_and_its_files_are_served_under_a_policy_without_a_key_and_nothing_else_is(served):
    for path, kind in (("/", "text/html"), ("/ui/app.css", "text/css"), ("/ui/app.js", "text/javascript"), ("/ui/icon.svg", "image/svg+xml")):
        status, headers, body = served.ask(path)
        assert status == 200 and headers["content-type"].startswith(kind) and body
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"") and b"https://" not in body and b"innerHTML" not in body
    assert served.ask("/ui/../page.py")[0] == served.ask("/ui/app.html")[0] == 404


def test_a_receipt_is_shown_without_rights(served):
    status, headers, body = served.ask("/receipts/en-de.html")
    assert status == 200 and b"Receipt" in body and headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert served.ask("/receipts/en-de")[2]["kind"] == "text"
    assert served.ask("/receipts/support")[2]["error"]["code"] == "no_receipt"
    assert served.ask("/receipts/nobody.html")[0] == 404


@browsing
def test_every_task_is_tried(page, served):
    opened(page, served, "support")
    answer = said(page, "where is my card")
    assert "answered by ngram" in answer and "%" in answer
    opened(page, served, "en-de")
    assert said(page, "Where is the station?").startswith("Wo ist der Bahnhof?")
    page.wait_for_selector("main table")
    assert "BLEU" in page.inner_text("main table") and page.get_attribute("main table + p a", "href") == "/receipts/en-de.html"
    opened(page, served, "tldr")
    document = (ROOT / "examples/papers/abstract.md").read_text("utf-8")
    summary = said(page, document)
    assert "every sentence is the document's own" in summary
    opened(page, served, "story")
    assert "ms" in said(page, "Once upon a time")
    assert not page.trouble and all(url.startswith(served.address) for url in page.asked)


@browsing
def test_a_conversation_streams_and_begins_anew(page, served):
    opened(page, served, "talk")
    page.fill("#text", "hello")
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn.assistant")
    page.wait_for_function("() => !document.querySelector('form button').disabled")
    assert page.locator(".turn").count() == 2
    page.get_by_text("Begin anew").click()
    assert page.locator(".turn").count() == 0 and not page.trouble


@browsing
def test_a_text_is_never_markup(page, served):
    opened(page, served, "en-de")
    said(page, NASTY)
    opened(page, served, "talk")
    page.fill("#text", NASTY)
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn.assistant")
    assert page.locator("main img").count() == 0 and page.title() == "talk · Understudy"


@browsing
@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 360)])
def test_it_fits_a_phone_and_follows_light_and_dark(browser, served, scheme, width):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    opened(page, served, "en-de")
    page.wait_for_selector("main table")
    page.click("#recent summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)")
    assert (shade < 200) == (scheme == "dark")
    context.close()


@browsing
def test_a_keyboard_is_enough(page, served):
    opened(page, served, "support")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('h2').textContent === 'talk'")
    assert page.evaluate("document.activeElement.id") == "main"


@browsing
def test_the_large_model_has_a_line(page, served, tmp_path):
    opened(page, served, "support")
    page.wait_for_function("() => document.querySelector('#version').textContent")
    assert not page.is_visible("#large")
    with fake_llm() as fake:
        flags = ("--large", fake.url, "--large-model", "<b>big</b>", "--large-budget", "1000", "--large-ledger", str(tmp_path / "ledger"))
        with server(tmp_path, make_bundle(tmp_path / "careful", threshold=1.1), flags=flags, environment={"UNDERSTUDY_LARGE_KEY": "sk-canary-page"}) as behind:
            opened(page, behind, "careful")
            assert "answered by large" in said(page, "where is my card")
            page.wait_for_function("() => document.querySelector('#large').textContent.includes('1 of 1 ')")
            assert page.inner_text("#large") == "Large model <b>big</b> at 127.0.0.1: well · 1 of 1 questions answered · 999 of 1,000 left today"
            assert page.locator("#large b").count() == 0 and "canary" not in page.content() and not page.trouble


@browsing
def test_a_key_opens_the_door(page, served, tmp_path):
    made = subprocess.run([sys.executable, "-m", "understudy.cli", "serve", "--make-key", "me", "--json"], capture_output=True, text=True, check=True)
    told = json.loads(made.stdout)
    (tmp_path / "keys").write_text(told["line"] + "\n")
    with server(tmp_path, make_bundle(tmp_path / "support"), flags=("--keys", str(tmp_path / "keys"))) as locked:
        page.goto(locked.address)
        page.wait_for_selector("#door:not([hidden])")
        assert page.locator("nav a").count() == 0
        page.fill("#key", told["key"])
        page.keyboard.press("Enter")
        page.wait_for_selector("nav a")
        assert "answered by" in said(page, "where is my card")
