"""The page: self-contained, escaped, accessible, the same each time, whole without matplotlib, and it fits a phone."""

from __future__ import annotations

import builtins
import importlib.util
import re
import shutil
import subprocess
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest

from understudy.proof import plots
from understudy.proof.bench import Speed
from understudy.proof.receipt import Entry, Receipt, build_receipt

EVIL = ['<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', "$\\frac{", "</style><svg onload=alert(1)>", "&lt;ok&gt;", "日本語\u202egnp.exe"]
VOID = {"meta", "link", "br", "img", "path", "use"}


def make(names: list[str] | None = None, k: int = 6, n: int = 400, **changes) -> Receipt:
    draw = np.random.default_rng(0)
    gold = draw.integers(0, k, n)
    names = names or ["teacher", "ngram", "encoder", "cascade"]
    roles = ["teacher", *["rung"] * (len(names) - 2), "cascade"]
    entries = []
    for i, (name, role) in enumerate(zip(names, roles, strict=True)):
        z = draw.normal(size=(n, k))
        z[np.arange(n), gold] += 2.5
        p = np.exp(z)
        entries.append(Entry(name, role, "int8", (p / p.sum(axis=1, keepdims=True)).astype(np.float32), bytes=10**6,
                             speed=Speed(0.1 * 2**i, 0.2 * 2**i, 0.3 * 2**i, 0.1 * 2**i, 9000, 150.0, 1, 99)))
    labels = [EVIL[i] if i < len(EVIL) else f"label {i}" for i in range(k)]
    values = {"task": "classify", "name": "support", "labels": labels, "texts": ["some text"] * n, "gold": gold, "entries": entries,
              "machine": {"cpu": EVIL[0], "versions": {"numpy": "2"}}, "provenance": {EVIL[1]: EVIL[0]}, "notes": [EVIL[3]]}
    return build_receipt(**{**values, **changes})


class Page(HTMLParser):
    """Every tag with its attributes, and a check that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page() -> str:
    return make(names=["teacher", *EVIL[:4], "cascade"], include_texts=True, texts=[EVIL[0]] * 400).html()


def test_it_asks_nobody_for_anything_and_runs_nothing(page):
    tags = Page(page).tags
    assert {t for t, _ in tags}.isdisjoint({"script", "link", "img", "iframe", "object", "embed", "form", "base", "image", "foreignobject"})
    for tag, attributes in tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action"):
                assert value.startswith("#"), (tag, name, value)
    outside = re.findall(r"https?://[^\s\"'<)]+", page)
    assert set(outside) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "@import" not in page and not re.search(r"url\((?!#)", page)
    policy = next(a["content"] for t, a in tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "script" not in policy


def test_hostile_strings_arrive_as_text(page):
    for evil in (*EVIL[:2], EVIL[3], EVIL[4]):
        assert evil not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "&amp;lt;ok&amp;gt;" in page
    assert "\u202e" not in page


def test_it_is_small_and_stays_small(page):
    assert len(page.encode()) < 300_000
    huge = make(k=1000, n=1200, names=["N" * 999 + str(i) for i in range(15)], labels=["L" * 5000 + str(i) for i in range(1000)],
                data={f"key {i}": "v" * 10_000 for i in range(500)}, notes=["n" * 50_000] * 200)
    assert len(huge.html().encode()) < 1_000_000


def test_ids_are_unique_and_every_reference_finds_one(page):
    tags = Page(page).tags
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids)) > 10
    wanted = re.findall(r"url\(#([^)]+)\)", page)
    for _, attributes in tags:
        wanted += [v[1:] for n, v in attributes.items() if n in ("href", "xlink:href")]
        wanted += (attributes.get("aria-labelledby") or "").split()
    assert wanted and set(wanted) <= set(ids)


def test_figures_are_described_and_tables_have_headers(page):
    tags = Page(page).tags
    figures = [a for t, a in tags if t == "svg"]
    assert len(figures) == 3 and all(a["role"] == "img" and a["aria-labelledby"] for a in figures)
    assert sum(t == "desc" for t, _ in tags) == 3
    tables = sum(t == "table" for t, _ in tags)
    assert tables >= 4 and sum(t == "caption" for t, _ in tags) == tables
    assert all(a.get("scope") in ("row", "col") for t, a in tags if t == "th")
    boxes = [a for t, a in tags if "scroll" in (a.get("class") or "")]
    assert len(boxes) == tables and all(a["tabindex"] == "0" and a["aria-label"] for a in boxes)


def test_figures_follow_light_and_dark(page):
    svg = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert not re.search(r"#[0-9a-fA-F]{6}\b(?![^<]*</desc>)", re.sub(r'(id|href)="[^"]*"|url\([^)]*\)', "", svg))
    css = resources.files("understudy.proof").joinpath("receipt.css").read_text(encoding="utf-8")
    for name in set(re.findall(r"var\(--([a-z]+)\)", page)):
        light, dark = css.split("@media (prefers-color-scheme: dark)")
        assert f"--{name}:" in light, name
        assert name in ("sans", "mono") or f"--{name}:" in dark, name


def luminance(colour: str) -> float:
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_stands_out_from_its_ground_in_both_schemes():
    css = resources.files("understudy.proof").joinpath("receipt.css").read_text(encoding="utf-8")
    for part in css.split("@media (prefers-color-scheme: dark)")[:2]:
        colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", part))
        for ink in ("ink", "soft", "cascade", "rung", "teacher", "peer"):
            for ground in ("paper", "card", "tint"):
                a, b = sorted((luminance(colours[ink]), luminance(colours[ground])))
                assert (b + 0.05) / (a + 0.05) >= 4.5, (ink, ground)


def test_same_receipt_same_page():
    receipt = make()
    assert receipt.html() == receipt.html()


def test_without_matplotlib_the_page_is_whole_and_says_so(monkeypatch):
    real_find, real_import = importlib.util.find_spec, builtins.__import__

    def refuse(name, *rest, **more):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real_import(name, *rest, **more)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "matplotlib" else real_find(name, *rest))
    monkeypatch.setattr(builtins, "__import__", refuse)
    text = make().html()
    assert "<svg" not in text and "No plots: they need the extra <code>train</code>" in text
    assert text.count("<table>") >= 4
    Page(text)


def test_nothing_timed_means_no_cost_figure():
    receipt = make()
    for entry in receipt.data["entries"]:
        entry["speed"] = None
    assert plots.quality_cost(receipt.data) is None
    assert receipt.html().count("<svg") == 2


@pytest.mark.parametrize("p50", [1e-9, 0.31, 1e9])
def test_one_point_of_any_size_can_be_drawn(p50):
    receipt = make(names=["teacher", "cascade"])
    for entry in receipt.data["entries"]:
        entry["speed"]["p50_ms"] = p50
    assert "<svg" in plots.quality_cost(receipt.data)


@pytest.mark.parametrize("k", [2, 6])
def test_a_perfect_and_a_hopeless_model_can_be_drawn(k):
    gold = np.arange(40) % k
    for answers in (gold, (gold + 1) % k):
        entry = Entry("only", "rung", "int8", np.eye(k, dtype=np.float32)[answers], speed=Speed(1, 1, 1, 1, 1000, None, 1, 5))
        text = build_receipt(task="classify", name="t", labels=[str(i) for i in range(k)], texts=[""] * 40, gold=gold, entries=[entry]).html()
        assert text.count("<svg") == 3
        Page(text)


def test_one_row_is_enough_for_a_page():
    entry = Entry("only", "cascade", "int8", np.array([[0.6, 0.4]], dtype=np.float32))
    receipt = build_receipt(task="classify", name="t", labels=["a", "b"], texts=["x"], gold=np.array([0]), entries=[entry])
    assert "Only 1 test row:" in receipt.html() and receipt.table()


def test_absurd_figures_from_a_stranger_are_drawn_or_left_out():
    receipt = make(names=["teacher", "cascade"])
    for value in (1e18, -1e18, 5e-324, 0):
        for entry, line in zip(receipt.data["entries"], receipt.data["risk_coverage"], strict=True):
            entry["speed"]["p50_ms"] = value
            entry["role"] = "</svg>"
            entry["accuracy"] = {"value": value, "low": -value, "high": value}
            line["risk"] = [value for _ in line["risk"]]
        for part in receipt.data["reliability"]:
            part.update(confidence=value, accuracy=-value, low=value, high=value)
        text = Receipt.from_json(receipt.to_json()).html()
        assert "</svg></svg>" not in text
        Page(text)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="measured where a browser is installed; the rest stands alone")
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_never_scrolls_the_page_sideways(tmp_path, page, width):
    (tmp_path / "receipt.html").write_text(page, encoding="utf-8")
    (tmp_path / "probe.html").write_text(
        f'<iframe id=f src="receipt.html" style="width:{width}px;height:800px;border:0"></iframe><script>f.onload=()=>'
        '{const d=f.contentDocument;d.querySelectorAll("details").forEach(e=>e.open=true);'
        'document.title=d.documentElement.scrollWidth+"/"+d.documentElement.clientWidth}</script>', encoding="utf-8")
    done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
                           "--allow-file-access-from-files", f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=3000",
                           "--dump-dom", f"file://{tmp_path}/probe.html"], capture_output=True, text=True, timeout=60)
    found = re.search(r"<title>(\d+)/(\d+)</title>", done.stdout)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    assert int(found[1]) <= int(found[2]) <= width
