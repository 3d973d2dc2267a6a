"""The page in a real browser: it sorts, filters and changes its theme, and its console is empty."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from recbole_enhance.leaderboard.board import build_board
from recbole_enhance.testing.made_runs import make_board, make_run

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = [
    name
    for name, there in (
        ("chromium", CHROMIUM),
        ("chromedriver", DRIVER),
        ("selenium", importlib.util.find_spec("selenium")),
    )
    if not there
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TABLE = ".results:not(.against)"
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1400,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    # A browser that has just started may not have the system's focus: its pages hear of none.
    driver.execute_cdp_cmd("Emulation.setFocusEmulationEnabled", {"enabled": True})
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    board = make_board(tmp_path_factory.mktemp("board"))
    for seed in (2020, 2021):
        results = {"recall@10": 0.05, "arp@10": 1.0, "ild@10": 0.1}
        make_run(
            board,
            "DVR-x",
            seed,
            results,
            place=f"runs/{seed}",
            options={"group_fields": ["gender"]},
            report={"label": HOSTILE, "backbone": HOSTILE, "enhancer": None},
        )
    failed = board / "cells/toy/NeuMF/1"
    failed.mkdir(parents=True)
    (failed / "failure.json").write_text(
        json.dumps({"label": "NeuMF", "dataset": "toy", "seed": 1, "reason": HOSTILE})
    )
    build_board(board, quiet=True)
    return Path(board)


@pytest.fixture
def page(browser, folder):
    browser.get((folder / "index.html").as_uri())
    return browser


def find(page, selector):
    return page.find_elements("css selector", selector)


def column(page, title):
    """The header's cell whose button starts so."""
    return next(th for th in find(page, f"{TABLE} tr.columns th") if th.text.startswith(title))


def names(page):
    """The rows as a reader sees them."""
    return [th.text.split("\n")[0] for th in find(page, f"{TABLE} tbody th") if th.is_displayed()]


def cells(page, title):
    place = page.execute_script(
        "return [...arguments[0].parentElement.children].indexOf(arguments[0])", column(page, title)
    )
    rows = find(page, f"{TABLE} tbody tr:not(.failed)")
    return [
        row.find_elements("css selector", "th, td")[place].get_attribute("data-value")
        for row in rows
    ]


def test_a_click_sorts_best_first_and_a_second_the_other_way(page):
    for title, order in (("ARP@10", "ascending"), ("Recall@10", "descending")):
        other = "descending" if order == "ascending" else "ascending"
        for said in (order, other):
            column(page, title).find_element("tag name", "button").click()
            assert column(page, title).get_attribute("aria-sort") == said
            values = [float(value) for value in cells(page, title) if value]
            assert values == sorted(values, reverse=said == "descending")
    sorted_by = [
        th for th in find(page, f"{TABLE} th[aria-sort]") if th.get_attribute("aria-sort") != "none"
    ]
    assert len(sorted_by) == 1


def test_a_row_without_a_value_is_last_both_ways(page):
    for _ in range(2):
        column(page, "GroupGap@10").find_element("tag name", "button").click()
        assert cells(page, "GroupGap@10")[-1] == ""
    assert names(page)[-1] == "NeuMF"


def test_the_keyboard_sorts_too(page):
    from selenium.webdriver.common.keys import Keys

    column(page, "Model").find_element("tag name", "button").send_keys(Keys.ENTER)
    assert column(page, "Model").get_attribute("aria-sort") == "ascending"
    shown = [name for name in names(page) if name != "NeuMF"]
    assert shown == sorted(shown, key=str.lower)


def test_text_filters_rows(page):
    find(page, "#find")[0].send_keys("dvr-l")
    assert names(page) == ["DVR-LightGCN"]
    changes = [row for row in find(page, ".against tbody tr") if row.is_displayed()]
    assert [row.text.split("\n")[0].split(" ")[0] for row in changes] == ["DVR"]
    page.execute_script("document.querySelector('details.inner').open = true")
    rows = [row for row in find(page, ".comparisons tbody tr") if row.is_displayed()]
    assert len(rows) == 4
    find(page, "#find")[0].send_keys("nothing like it")
    assert names(page) == []
    assert "No row has this text" in find(page, ".empty:not([hidden])")[0].text


def test_families_filter_rows_and_columns(page):
    chip = '[data-filter="{}"][data-value="{}"]'
    find(page, chip.format("model", "method"))[0].click()
    assert not any(name.startswith("DVR") for name in names(page))
    find(page, chip.format("metric", "diversity"))[0].click()
    heads = [th.text for th in find(page, f"{TABLE} tr.columns th") if th.is_displayed()]
    assert any(head.startswith("Recall@10") for head in heads)
    assert not any(head.startswith(("ARP", "ILD")) for head in heads)
    groups = [th.text for th in find(page, f"{TABLE} tr.families th") if th.is_displayed()]
    assert [group for group in groups if group] == ["ACCURACY", "FAIRNESS", "COST"]
    diversity = find(page, chip.format("metric", "diversity"))[0]
    assert diversity.get_attribute("aria-pressed") == "false"


def test_the_theme_follows_the_system_and_the_button(page):
    def background():
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    feature = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    light = background()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    dark = background()
    assert dark != light
    find(page, "#theme")[0].click()
    assert background() == light
    find(page, "#theme")[0].click()
    assert background() == dark
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    page.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme")


def test_plots_are_drawn(page):
    assert len(find(page, ".plot .main-svg")) >= 4
    assert len(find(page, ".plot")) == 4


def test_a_tooltip_explains_a_column(page):
    button = column(page, "ARP@10").find_element("tag name", "button")
    page.execute_script("arguments[0].focus()", button)
    tip = find(page, "#tip")[0]
    assert tip.is_displayed()
    assert "Smaller is better." in tip.text


SCROLL_TO_THE_END_THEN_FOCUS_THE_FIRST = """
const [place, button, done] = arguments;
place.scrollLeft = place.scrollWidth;
setTimeout(() => {
  place.addEventListener("scroll", () => setTimeout(() => done(true), 0), { once: true });
  button.focus();
}, 50);
"""


def test_the_tooltip_of_the_keyboard_stays_when_its_column_is_scrolled_into_sight(page):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.refresh()
    button = column(page, "Recall@10").find_element("tag name", "button")
    place = find(page, ".scroll")[0]
    page.execute_async_script(SCROLL_TO_THE_END_THEN_FOCUS_THE_FIRST, place, button)
    tip = find(page, "#tip")[0]
    assert tip.is_displayed()
    assert tip.text == button.get_attribute("data-tip")
    page.execute_script("arguments[0].blur(); window.scrollBy(0, 1)", button)
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_names_are_shown_and_not_run(page):
    assert HOSTILE in page.execute_script(
        "return [...document.querySelectorAll('.results tbody th')].map(th => th.textContent)"
    )
    assert page.execute_script("return window.hacked") is None


def test_a_phone_needs_no_sideways_scrolling(page):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.refresh()
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_columns_that_are_cut_off_fade_until_one_has_scrolled_there(page):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    page.refresh()
    place = find(page, ".scroll")[0]

    def cut():
        page.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 50))")
        return "cut" in place.get_attribute("class").split()

    assert cut()
    page.execute_script("arguments[0].scrollLeft = arguments[0].scrollWidth", place)
    assert not cut()
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_head_of_a_long_table_stays(page):
    place = find(page, ".scroll.tall")[0]
    page.execute_script(
        "arguments[0].style.maxHeight = '140px'; arguments[0].scrollTop = 60", place
    )
    heads = find(page, f"{TABLE} thead tr.columns th")[:3]
    tops = [
        page.execute_script("return arguments[0].getBoundingClientRect().top", h) for h in heads
    ]
    top = page.execute_script("return arguments[0].getBoundingClientRect().top", place)
    assert all(top <= t < top + 60 for t in tops)


def test_no_word_in_the_console_and_no_request(page):
    """Last: the logs hold what all tests above left."""
    page.refresh()
    assert page.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = {
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    }
    asked = {url for url in asked if not url.startswith(("chrome", "about:"))}  # an empty tab
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert any(url.endswith("index.html") for url in asked)
