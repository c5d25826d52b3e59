"""The page as text."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from modelbuild.views.reporting.page import render
from modelbuild.views.reporting.values import ShownModel, ShownRanges
from tests.views.reporting.samples import HOSTILE, hostile, model, tensors


class Elements(HTMLParser):
    """What a browser would make of a page: elements with their attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)
        else:
            self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    return render([model("good", "ok"), hostile(), model("bad")])


def test_nothing_is_fetched_from_anywhere(page: str) -> None:
    links = [
        a for _, a in Elements(page).tags for name in ("src", "href", "srcset", "data", "action") if name in a
    ]
    assert links
    assert all(re.fullmatch(r"#model-\d", str(a.get("href"))) for a in links)
    assert "@import" not in page
    assert "url(" not in page.partition("<script>")[0]


def test_only_the_two_scripts_of_the_page_may_run(page: str) -> None:
    found = Elements(page)
    policy = next(a["content"] for t, a in found.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    running = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in running} == allowed
    assert len(running) == 2


def test_what_others_wrote_is_text_wherever_it_stands(page: str) -> None:
    found = Elements(page)
    assert "img" not in {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attrs in found.tags for name in attrs)
    assert "<script>document.title='owned'</script><img src=x onerror=alert(1)>" in found.text
    assert "\x07" not in page
    assert "\u202e" not in page.partition("<script>window")[0].split("<script>")[0]


def test_the_numbers_are_readable_without_any_script(page: str) -> None:
    text = Elements(page).text
    for told in ("Plots need JavaScript", "65504", "opset changed: 18 -> 20", "tensor_node_2", "too far",
                 "tensorrt-rtx", "2.13.0", "fp16-simulated", "batch 8", "300.0 MiB", "2026-11-",
                 "the graph holds one side alone"):  # fmt: skip
        assert told in text


def test_the_same_report_has_the_same_bytes() -> None:
    assert render([model()]) == render([model()])


@pytest.mark.slow
def test_fifty_large_models_stay_below_five_megabytes() -> None:
    """BERT-base has 257 tensors in half; a large graph has thousands, with names of 200 characters."""
    rows = tensors(1200, "/model/decoder/layers/" + "self_attention/" * 10)
    facts = {f"step {i}": {f"file {HOSTILE}{j}": "sha256:" + "0" * 64 for j in range(100)} for i in range(12)}
    models = [
        model(f"model-{i}", ranges={"fp16": ShownRanges(rows), "bf16": ShownRanges(rows)}, facts=facts)
        for i in range(50)
    ]
    size = len(render(models).encode())
    assert 2_500_000 < size < 5_000_000


def test_a_model_of_which_nothing_is_known_has_a_section() -> None:
    found = Elements(
        render([ShownModel("new", "new.yaml", "stale", notes=["This recipe was not built yet."])])
    )
    assert "This recipe was not built yet." in found.text
    assert "build again" in found.text
