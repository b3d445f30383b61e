"""The status page in a real browser: a person watches the demo fleet, sees a loop, and follows it to its trace."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from running import ROOT, eventually, free_port
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, or a loud skip."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("chromium and chromedriver are not on PATH")
        pytest.skip("CHROMIUM IS NOT AT HAND: install chromium and its driver to see the pages tested")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--window-size=1280,900",
        "--force-prefers-reduced-motion",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def site():
    """The demo with two faults; its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "agent_exporter", "demo", "--port", str(port), "--fault", "loop", "--fault", "cascade"],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for row in process.stderr:
        if row.startswith("found:"):
            break
    yield f"http://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0


@pytest.fixture(autouse=True)
def no_complaints(browser):
    """Of the console: an asset that is missing, or something that the content security policy forbids."""
    yield
    assert [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"] == []


def text(browser) -> str:
    return browser.find_element(By.TAG_NAME, "main").text


def row_of(browser, agent: str) -> str:
    """Its row of the fleet, as a person reads it."""
    with contextlib.suppress(Exception):  # the page may be loading itself anew just now
        return browser.find_element(By.XPATH, f"//tr[th/a='{agent}']").text
    return ""


def test_a_person_sees_a_loop_and_follows_it_to_its_trace(browser, site):
    """The page loads itself anew; then by links alone: fleet, agent, trace, and back."""
    browser.get(site)
    assert browser.title == "Fleet · agent-exporter"
    eventually(lambda: "looping" in row_of(browser, "support-01"), within=60, every=0.5)
    browser.get(f"{site}/?hold")
    row = browser.find_element(By.XPATH, "//tr[th/a='support-01']")
    assert re.search(r"▲ looping \(.* ago\)", row.text)
    assert row.value_of_css_property("background-color") == "rgba(254, 241, 239, 1)"
    browser.find_element(By.LINK_TEXT, "support-01").click()
    assert browser.find_element(By.TAG_NAME, "h1").text == "support-01 team support"
    evidence = "search_tickets 4 times in a row: same input, same outcome"
    assert evidence in text(browser)
    found = browser.find_element(By.XPATH, f"//tr[contains(., '{evidence}')]")
    assert "▲ loop: repeat" in found.text
    found.find_element(By.XPATH, ".//a[starts-with(@href, '/traces/')]").click()
    assert browser.find_element(By.TAG_NAME, "h1").text.startswith("Trace ")
    marked = browser.find_elements(By.XPATH, "//tr[contains(@class, 'action')][contains(., '⚑ loop')]")
    assert marked
    assert "▲ error ConnectionError" in marked[0].text
    browser.find_element(By.LINK_TEXT, "Fleet").click()
    assert browser.find_element(By.TAG_NAME, "h1").text == "Fleet"


def test_a_cascade_is_a_finding_with_its_way_through_the_agents(browser, site):
    """From the list of findings to the waterfall of the agents that fell."""
    # With its sign: the word alone stands in the sentence that heads the page.
    eventually(lambda: browser.get(f"{site}/findings?hold") or "▲ cascade" in text(browser), within=60, every=0.5)
    found = browser.find_element(By.XPATH, "//tr[contains(., '▲ cascade')]")
    assert "planner-01 → researcher-01 → fetcher-01 failed within" in found.text
    found.find_element(By.XPATH, ".//a[starts-with(@href, '/traces/')]").click()
    names = [cell.text.split()[0] for cell in browser.find_elements(By.CSS_SELECTOR, "tr.session th")]
    assert names == ["planner-01", "researcher-01", "fetcher-01", "writer-01"]
    bars = browser.find_elements(By.CSS_SELECTOR, "tr.action.bad rect")
    assert len(bars) == 4
    lefts = [bar.rect["x"] for bar in bars]
    assert lefts == sorted(lefts)
    assert all(bar.size["width"] > 5 for bar in bars)


def test_the_page_can_be_used_by_keyboard_and_read_aloud(browser, site):
    """The first key leads to the content; every table has a caption, every drawing words, every page one heading."""
    browser.get(f"{site}/?hold")
    first = browser.switch_to.active_element
    first.send_keys(Keys.TAB)
    focused = browser.switch_to.active_element
    assert focused.text == "Skip to the content"
    assert focused.rect["x"] >= 0
    for path in ("/?hold", "/agents/support-01?hold", "/findings?hold"):
        browser.get(site + path)
        assert len(browser.find_elements(By.TAG_NAME, "h1")) == 1
        assert browser.find_element(By.TAG_NAME, "html").get_attribute("lang") == "en"
        assert browser.find_elements(By.XPATH, "//table[not(caption)]") == []
        assert browser.find_elements(By.XPATH, "//*[name()='svg'][not(@aria-label) and not(@aria-hidden)]") == []
        assert browser.find_elements(By.XPATH, "//th[not(@scope)]") == []


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 has it: 4.5 is enough for text of this size."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_by_day_and_by_night(browser, site, scheme):
    """Against the background that it stands on."""
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        browser.get(f"{site}/?hold")
        pairs = browser.execute_script("""
            const behind = e => { for (; e; e = e.parentElement) {
                const c = getComputedStyle(e).backgroundColor; if (!c.endsWith(", 0)")) return c; } return "rgb(255, 255, 255)"; };
            return [...document.querySelectorAll("body *")]
                .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.getClientRects().length && e.className !== "skip")
                .map(e => [e.textContent.trim().slice(0, 40), getComputedStyle(e).color, behind(e)]);
        """)
        assert len(pairs) > 50
        assert [pair for pair in pairs if contrast(*pair[1:]) < 4.5] == []
        page = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (contrast(page, "rgb(255, 255, 255)") < 2) == (scheme == "light")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("path", ["/", "/agents/planner-01", "/findings"])
def test_a_telephone_shows_everything_without_scrolling_sideways(browser, site, path):
    """At 390 pixels a row is a card, with the names of its columns."""
    metrics = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get(f"{site}{path}?hold")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        if path == "/":
            card = browser.find_element(By.XPATH, "//tr[th/a='planner-01']")
            assert card.size["width"] > 300
            label = browser.execute_script(
                "return getComputedStyle(arguments[0].querySelector('td'), '::before').content", card
            )
            assert "Status" in label
            shown = [cell.is_displayed() for cell in card.find_elements(By.CSS_SELECTOR, "th, td")]
            assert shown == [True] * 8
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_laptop_shows_every_column_of_the_fleet_without_scrolling_sideways(browser, site):
    """1280 pixels: the sparkline and the errors too."""
    metrics = {"width": 1280, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get(f"{site}/?hold")
        row = browser.find_element(By.XPATH, "//tr[th/a='planner-01']")
        assert [cell.is_displayed() for cell in row.find_elements(By.CSS_SELECTOR, "th, td")] == [True] * 8
        assert (
            browser.execute_script("let t = document.querySelector('.wide'); return t.scrollWidth - t.clientWidth") <= 0
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
