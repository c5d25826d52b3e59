"""The report in a real browser: it draws, fetches nothing, and is readable in every light and width."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from modelbuild.views.reporting.page import render
from modelbuild.views.reporting.values import ShownModel
from tests.views.reporting.samples import ACTIONS, action, hostile, model

pytestmark = pytest.mark.slow

# Unfolds everything and comes by every plot, as a reader does; each is drawn when it is in view.
READ = """async () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
  for (const plot of document.querySelectorAll(".plot")) {
    plot.scrollIntoView();
    for (let i = 0; i < 1000 && !plot.dataset.drawn; i++) await new Promise((go) => setTimeout(go, 20));
  }
  return document.querySelectorAll(".plot").length;
}"""
# Of each plot: the marks of points, bars and lines in it.
MARKS = """() => [...document.querySelectorAll(".plot")].map((plot) =>
  plot.querySelectorAll("svg .role-mark path, svg .role-mark line, svg .role-mark text").length)"""


@dataclass
class Reader:
    """A page, and what went wrong or was fetched while it was read."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def colour(self, selector: str, what: str = "backgroundColor") -> Any:
        return self.page.eval_on_selector(selector, f"e => getComputedStyle(e).{what}")


Opened = Callable[..., Reader]


DEEP = (
    *ACTIONS, action("fp16.batch1-height64-width64", "static", "fp16"),
    action("WWWWWWWWWWWWWWWWWWWWWW.tensorrt-rtx", "engine tensorrt-rtx", "fp16.batch1-height64-width64"),
)  # fmt: skip


def good() -> ShownModel:
    made = model("good", "ok")
    return replace(made, artifacts=[a for a in made.artifacts if a.proven])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render([model("bad", actions=DEEP), hostile(), good()]))
    return path


@pytest.fixture
def read(browser: Browser, file: Path) -> Iterator[Opened]:
    """Opens the report: ``scheme``, ``width`` in px, and whether it may run scripts."""
    contexts = []

    def opened(scheme: Any = "light", width: int = 1280, scripts: bool = True) -> Reader:
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 800}, java_script_enabled=scripts
        )
        contexts.append(context)
        reader = Reader(context.new_page())
        reader.page.on("console", lambda m: reader.errors.append(f"{m.type}: {m.text}"))
        reader.page.on("pageerror", lambda e: reader.errors.append(str(e)))
        reader.page.on("request", lambda r: reader.requests.append(r.url))
        reader.page.goto(file.as_uri())
        if scripts:
            assert reader.page.evaluate(READ) > 10
        return reader

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_plot_is_drawn_and_nothing_is_wrong_or_fetched(
    read: Opened, file: Path, tmp_path: Path, scheme: str
) -> None:
    reader = read(scheme)
    assert reader.errors == []
    assert reader.requests == [file.as_uri()]
    assert min(reader.page.evaluate(MARKS)) > 0
    assert reader.page.locator("svg.pipeline.flat").count() == 3
    shot = tmp_path / "report.png"
    reader.page.screenshot(path=shot, full_page=True)
    assert shot.stat().st_size > 50_000


def test_points_are_where_their_numbers_say(read: Opened) -> None:
    """Of the model ``bad``: z at half of what it needs is left of the line at x1, all else right of it."""
    page = read().page
    beyond, line = page.evaluate("""() => {
      const plot = document.querySelector("#model-0 .plot");
      const at = (e) => e.getBoundingClientRect().left;
      const points = [...plot.querySelectorAll(".mark-symbol.role-mark path")];
      const line = at(plot.querySelector(".mark-rule.role-mark line"));
      return [points.filter((p) => at(p) < line).length, points.length];
    }""")
    assert (beyond, line) == (3, 12)


def test_dark_and_light_are_two_pictures_also_inside_the_plots(read: Opened) -> None:
    light, dark = read("light"), read("dark")
    assert light.colour("body") != dark.colour("body")
    label = ".plot .role-axis-label text"
    assert light.colour(label, "fill") != dark.colour(label, "fill")
    assert light.colour(".pipeline .name", "fill") != dark.colour(".pipeline .name", "fill")


def test_the_button_turns_the_light_on_and_off(read: Opened) -> None:
    reader = read("light")
    label = ".plot .role-axis-label text"
    before = reader.colour("body"), reader.colour(label, "fill")
    button = reader.page.locator("#theme")
    assert button.inner_text() == "Dark"
    button.click()
    assert button.inner_text() == "Light"
    reader.page.wait_for_function(
        f"getComputedStyle(document.querySelector('{label}')).fill !== '{before[1]}'", timeout=20_000
    )
    assert reader.colour("body") != before[0]
    button.click()
    reader.page.wait_for_function(
        f"getComputedStyle(document.querySelector('{label}')).fill === '{before[1]}'", timeout=20_000
    )
    assert reader.colour("body") == before[0]
    assert reader.errors == []


def test_a_phone_shows_all_of_it_without_scrolling_sideways(read: Opened, tmp_path: Path) -> None:
    reader = read("light", 375)
    assert reader.page.evaluate("document.documentElement.scrollWidth") == 375
    assert reader.page.evaluate("document.body.scrollWidth") == 375
    assert reader.page.locator("svg.pipeline.tall").first.is_visible()
    assert not reader.page.locator("svg.pipeline.flat").first.is_visible()
    wide = reader.page.evaluate("""() => [...document.querySelectorAll(".plot svg")]
      .filter((svg) => svg.getBoundingClientRect().right > 375).length""")
    assert wide == 0
    assert reader.errors == []


# Of each box of a pipeline that is shown: how far the words in it go beyond its edges, in px.
BEYOND = """() => [...document.querySelectorAll("svg.pipeline")].filter((svg) => svg.clientWidth).map((svg) =>
  Math.max(0, ...[...svg.querySelectorAll("g.box")].flatMap((box) => {
    const rect = box.querySelector("rect"), edge = rect.getBoundingClientRect();
    const scale = edge.width / rect.width.baseVal.value;
    return [...box.querySelectorAll("text")].map((text) => {
      const inner = text.parentElement, own = text.getBoundingClientRect().right - edge.right;
      const clips = inner.tagName === "svg" && getComputedStyle(inner).overflow === "hidden";
      return clips ? Math.min(own, inner.width.baseVal.value * scale - edge.width) : own;
    });
  })))"""
# What is wider than the place that it has, and would have to be scrolled to.
CUT = """() => [...document.querySelectorAll(".scroll, td, dd, .verdict")]
  .filter((e) => e.clientWidth && e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("width", [390, 700, 1280])
def test_no_box_is_cut_and_no_name_leaves_its_box(read: Opened, width: int) -> None:
    """The models' pipelines are six columns wide, and have names with the sizes of several axes."""
    page = read(width=width).page
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CUT) == []
    assert max(page.evaluate(BEYOND)) <= 0


def test_on_a_phone_each_row_of_a_table_is_a_card_with_the_names_of_its_columns(read: Opened) -> None:
    page = read(width=390).page
    assert not page.locator("thead").first.is_visible()
    cell = page.locator("#model-0 td[data-label='headroom']").first
    assert cell.evaluate("e => getComputedStyle(e, '::before').content") == '"headroom"'
    tops = page.evaluate("""() => ["status", "headroom"].map((name) =>
      document.querySelector(`#model-0 td[data-label='${name}']`).getBoundingClientRect().top)""")
    assert tops[0] < tops[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_failed_is_red_and_what_is_proven_green(read: Opened, scheme: str) -> None:
    reader = read(scheme)
    colours = [reader.colour(f"#model-{i} .verdict strong", "color") for i in (0, 2)]
    red, green = ([int(n) for n in colour[4:-1].split(",")] for colour in colours)
    assert red[0] > 1.5 * red[1]
    assert green[1] > 1.2 * green[0]
    assert reader.colour(".verdict.failed .bad", "color") == colours[0]


def test_pointing_at_a_tensor_tells_its_name_its_node_and_its_line(read: Opened) -> None:
    page = read().page
    points = page.locator("#model-0 figure", has_text="Range of every tensor").locator(
        ".mark-symbol.role-mark path"
    )
    points.first.hover()
    told = page.locator("#vg-tooltip-element").inner_text()
    for text in ("tensor_0", "tensor_node_0", "net.py:12 in forward", "overflows"):
        assert text in told


def test_a_hostile_name_is_read_and_does_nothing(read: Opened) -> None:
    reader = read()
    assert reader.page.title() == "Build report"
    assert reader.page.locator("img").count() == 0
    assert "<img src=x onerror=alert(1)>" in reader.page.locator("#model-1").inner_text()
    reader.page.locator("#model-1 .mark-symbol.role-mark path").first.hover()
    assert "</script><scrip…alert(1)>" in reader.page.locator("#vg-tooltip-element").inner_text()
    assert reader.page.locator("img").count() == 0
    assert reader.errors == []


def test_without_scripts_a_note_and_the_tables_are_there(read: Opened) -> None:
    reader = read(scripts=False)
    text = reader.page.locator("body").inner_text()
    for told in ("Plots need JavaScript", "bad.fp16.onnx", "too far", "Pipeline", "tensor_node_2"):
        assert told in text
    assert not reader.page.locator("#theme").is_visible()
    assert reader.errors == []


def test_on_paper_every_model_is_unfolded_and_light(read: Opened) -> None:
    reader = read("dark")
    for part in reader.page.locator("details.model").all():
        part.evaluate("e => { e.open = false; }")
    reader.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert all(reader.page.evaluate("[...document.querySelectorAll('details.model')].map(e => e.open)"))
    reader.page.emulate_media(media="print")
    assert reader.colour("body") == "rgb(255, 255, 255)"
