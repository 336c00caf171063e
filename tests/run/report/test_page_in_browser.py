"""The report in a browser: it is legible on a telephone and on a screen, its slider moves, it asks for nothing."""

import shutil

import pytest
from finished_runs import write_both

from jax_uda.run.report.page import render

pytest.importorskip("plotly")
sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on PATH")
SECTIONS = ("images", "classes", "training", "run")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs") / "pair"
  write_both(folder)
  return render.write(folder)


@pytest.fixture(scope="module")
def browser():
  flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
    yield browser
    browser.close()


@pytest.mark.parametrize("width", [390, 1440])
def test_every_section_fits_the_window_and_the_slider_moves(page_file, browser, width):
  complaints, requests = [], []
  page = browser.new_page(viewport={"width": width, "height": 900})
  page.on("console", lambda message: complaints.append(message.text))
  page.on("pageerror", lambda error: complaints.append(str(error)))
  page.on("request", lambda request: requests.append(request.url))
  page.goto(page_file.as_uri())
  page.wait_for_selector("#training details[open] .js-plotly-plot .main-svg")
  assert page.evaluate("document.documentElement.scrollWidth") <= width
  for name in SECTIONS:
    assert page.locator(f"#{name}").is_visible()
  for chart in page.locator("details[open] .js-plotly-plot, #classes .js-plotly-plot").all():
    assert chart.bounding_box()["width"] > 250
  slider = page.locator(".slider").first
  slider.locator("input").fill("80")
  assert slider.evaluate("node => getComputedStyle(node).getPropertyValue('--at')") == "80%"
  line = slider.locator(".line").bounding_box()
  box = slider.bounding_box()
  assert abs((line["x"] - box["x"]) / box["width"] - 0.8) < 0.02
  assert not complaints
  assert all(url.startswith(("file:", "data:", "blob:")) for url in requests)
  page.close()
