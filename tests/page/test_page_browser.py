# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page in a real browser: headless Chromium, as Debian packages it (chromium, chromium-driver)."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "unit"))
from ansible_collections.accelnet.mana.plugins.plugin_utils._page import render
from fleets import HOSTILE_NAMES, fleet

selenium = pytest.importorskip("selenium.webdriver", reason="the Python library selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium is not installed (Debian packages chromium and chromium-driver)"),
]
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
DESKTOP, PHONE = (1366, 900), (360, 740)


class Browser:
    """A page in Chromium, and what people do with it."""

    def __init__(self, driver, directory):
        self.driver = driver
        self.directory = directory

    def do(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def open(self, report, size=DESKTOP, scheme="light"):
        path = self.directory / "report.html"
        path.write_text(render(report), encoding="utf-8")
        self.resize(size)
        self.scheme(scheme)
        self.driver.get("about:blank")
        self.problems()
        self.driver.get(path.as_uri())

    def resize(self, size):
        self.do("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 600)

    def scheme(self, scheme):
        self.do("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def problems(self):
        """What the console says, and every request for anything but the page, since last asked."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        page = (self.directory / "report.html").as_uri()
        return said + [url for url in urls if url not in (page, "about:blank")]

    def press(self, *keys):
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def search(self, words):
        self.js("const s = document.querySelector('#search'); s.focus(); s.select();")
        self.press(words or Keys.BACKSPACE)

    def click(self, selector):
        self.js("document.querySelector(arguments[0]).click()", selector)

    def choose(self, facet, value):
        self.js(
            "[...document.querySelectorAll(`.panel-${arguments[0]} .key`)].find((k) => k.dataset.value === arguments[1]).click()",
            facet,
            value,
        )

    def names(self):
        return self.js("return [...document.querySelectorAll('#rows .name')].map((n) => n.textContent)")

    def column(self, name):
        return self.js("return [...document.querySelectorAll(`#rows .cell-${arguments[0]}`)].map((c) => c.textContent)", name)

    def count(self):
        return self.js("return document.querySelector('#count').textContent")

    def focused(self):
        return self.js("const e = document.activeElement; return e.id || e.textContent.trim()")

    def opened(self):
        return self.js("return document.querySelectorAll('#rows .detail').length")

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).innerText", selector)

    def pdf(self):
        return base64.b64decode(self.do("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = selenium.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # The path of the driver is given, so that selenium does not go and look for one in the network.
    driver = selenium.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def browser(driver, tmp_path):
    """Whatever a test does, the console stays silent and nothing is loaded."""
    page = Browser(driver, tmp_path)
    yield page
    assert page.problems() == []


@pytest.mark.parametrize("size", [1, 100, 5000])
@pytest.mark.parametrize("hostile", [False, True], ids=["tame", "hostile"])
def test_opens(browser, size, hostile):
    report = fleet(size, hostile=hostile)
    begin = time.monotonic()
    browser.open(report)
    assert len(browser.names()) == min(size, 50)
    assert time.monotonic() - begin < 10
    assert browser.count() == ("1 host" if size == 1 else f"{size:,} hosts")
    # Nothing but the template's elements: no name became one.
    assert browser.js("return document.querySelectorAll('img, iframe, a, script, style, link').length") == 4
    assert browser.js("return document.title") == "20261123T040506Z \u2013 accelnet.mana report"


def test_headline_answers_the_question(browser):
    report = fleet(40)
    browser.open(report)
    met = sum(row["met"] is True for row in report["hosts"])
    assert browser.text("h1") == f"{met} of 40 hosts meet the goal rdma"
    assert "could not be judged (2 failed, 2 unreachable and 2 not run)" in browser.text("#lead")
    assert "2026-11-23 04:05 UTC" in browser.text("#about")
    assert browser.text("#notices") == ""


def test_unfinished_run_says_so(browser):
    browser.open(fleet(4, finished=None))
    assert "not finished" in browser.text("#notices")


def test_no_hosts(browser):
    browser.open(fleet(0))
    assert browser.text("h1") == "This run had no hosts."
    assert browser.text("#none") == "There are no hosts in this report."


def test_single_host_is_open(browser):
    report = fleet(10)
    report["hosts"] = [report["hosts"][9]]
    browser.open(report)
    assert browser.text("h1") == "The host does not meet the goal rdma"
    assert browser.opened() == 1
    assert not browser.js("return document.querySelector('.charts').checkVisibility()")


def test_hostile_names_are_shown_as_text(browser):
    browser.open(fleet(len(HOSTILE_NAMES), hostile=True))
    names = browser.names()
    for name in (HOSTILE_NAMES[0], HOSTILE_NAMES[1], "n" * 300, "__proto__", HOSTILE_NAMES[7], HOSTILE_NAMES[5]):
        assert name in names
    # A name that would be drawn as another one shows why.
    assert "web\u2039U+202E\u203agnp.exe" in names
    assert "db\u2039U+2066\u203a\u2039U+200B\u203a\u2039U+2028\u203atwin" in names
    browser.js("for (const o of document.querySelectorAll('.opener')) o.click()")
    assert browser.opened() == len(HOSTILE_NAMES)


def test_policy_holds(browser):
    """Even if a script or an image got in, it would neither run nor load."""
    browser.open(fleet(2))
    browser.js(
        "const s = document.createElement('script'); try { s.textContent = 'window.owned = 1'; } catch { s.append('window.owned = 1'); }"
        "document.body.append(s);"
        "const i = document.createElement('img'); i.src = 'http://192.0.2.1/x.png'; document.body.append(i);"
        "try { document.body.innerHTML = '<b>x</b>'; } catch { window.refused = 1; }"
    )
    assert browser.js("return [window.owned || 0, window.refused || 0]") == [0, 1]
    said = browser.problems()
    assert any("Content Security Policy" in line for line in said)
    assert not [line for line in said if line.startswith("http")]


def test_search(browser):
    browser.open(fleet(100))
    browser.search("flatcar VF_not")
    rows = [row for row in fleet(100)["hosts"] if row["distribution"] == "flatcar" and "vf_not" in " ".join(row["reasons"])]
    assert rows and sorted(browser.names()) == sorted(row["host"] for row in rows)
    assert browser.count() == f"{len(rows)} of 100 hosts"
    browser.search("00:22:48:00:02:00")
    assert browser.column("system") == ["ubuntu 22.04"]
    browser.search("no such host")
    assert browser.text("#none").startswith("No host fits")
    browser.search("")
    assert browser.count() == "100 hosts"


def test_search_takes_hostile_words(browser):
    browser.open(fleet(40, hostile=True))
    for words, name in (
        ("</script>", HOSTILE_NAMES[0]),
        ('"quoted"', HOSTILE_NAMES[7]),
        ("__proto__", "__proto__"),
        ("]]>&lt;", HOSTILE_NAMES[9]),
    ):
        browser.search(words)
        assert name in browser.names()
    browser.search("(.*+?^$[")
    assert browser.names() == []


def test_first_sight_is_what_is_wrong(browser):
    browser.open(fleet(100))
    order = ["orphaned", "degraded", "no verdict", "synthetic", "unsupported", "userspace", "accelerated"]
    places = [order.index(verdict) for verdict in browser.column("verdict")]
    assert places == sorted(places)


def test_sort_by_mouse(browser):
    report = fleet(40)
    for number, row in enumerate(report["hosts"]):
        row["host"] = f"web{40 - number}"
    browser.open(report)
    browser.click("th.cell-host button")
    assert browser.names() == [f"web{number}" for number in range(1, 41)]  # web2 before web10
    browser.click("th.cell-host button")
    assert browser.names() == [f"web{number}" for number in range(40, 0, -1)]
    assert browser.js("return document.querySelector('th.cell-host').getAttribute('aria-sort')") == "descending"
    assert browser.js("return document.querySelectorAll('th[aria-sort]').length") == 1
    # What is empty comes last either way.
    for _ in range(2):
        browser.click("th.cell-kernel button")
        kernels = browser.column("kernel")
        assert kernels.index("\u2013") == len([kernel for kernel in kernels if kernel != "\u2013"])


@pytest.mark.parametrize("column", ["host", "verdict", "goal", "reasons", "system", "kernel", "kinds", "status"])
def test_sort_by_keyboard(browser, column):
    browser.open(fleet(40))
    browser.js("document.querySelector(`th.cell-${arguments[0]} button`).focus()", column)
    browser.press(Keys.ENTER)
    first = browser.names()
    browser.press(Keys.ENTER)
    assert browser.names() != first
    assert browser.js("return document.activeElement.closest('th').dataset.column") == column


def test_charts_have_words_and_filter(browser):
    report = fleet(100)
    browser.open(report)
    orphaned = sorted(row["host"] for row in report["hosts"] if row["verdict"] == "orphaned")
    assert f"orphaned {len(orphaned)}" in browser.js("return document.querySelector('.stack').getAttribute('aria-label')")
    assert browser.js("return document.querySelector('.ring').getAttribute('aria-label')").startswith("55% meet the goal")
    # The segment of the chart itself, by a real mouse.
    where = browser.js(
        "const r = document.querySelector('.segment.bad rect').getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.do("Input.dispatchMouseEvent", type=kind, x=where[0], y=where[1], button="left", clickCount=1)
    assert sorted(browser.names()) == orphaned
    browser.choose("verdict", "degraded")  # values of one chart add up
    assert set(browser.column("verdict")) == {"orphaned", "degraded"}
    browser.choose("system", "debian 13")  # charts narrow each other down
    assert set(browser.column("system")) == {"debian 13"}
    browser.js("document.querySelector('#filters .chip').click()")
    assert set(browser.column("verdict")) == {"degraded"}
    browser.js("document.querySelector('#filters .link').click()")
    assert browser.count() == "100 hosts"


def test_every_chart_filters_to_what_it_counts(browser):
    browser.open(fleet(100))
    keys = browser.js(
        "return [...document.querySelectorAll('.key')].map((k) => [k.dataset.value, k.querySelector('.key-count').textContent])"
    )
    assert len(keys) > 25
    for place, (value, count) in enumerate(keys):
        browser.js("document.querySelectorAll('.key')[arguments[0]].click()", place)
        assert browser.count() == f"{count} of 100 hosts", value
        browser.js("document.querySelectorAll('.key')[arguments[0]].click()", place)


def test_keyboard_alone(browser):
    browser.open(fleet(100))
    browser.press("/")
    assert browser.focused() == "search"
    browser.press("w", "e", "b", Keys.ARROW_DOWN)
    first, second, third = browser.names()[:3]
    assert browser.focused() == first
    browser.press(Keys.ARROW_DOWN)
    assert browser.focused() == second
    browser.press(Keys.ENTER)
    assert browser.opened() == 1
    assert browser.js("return document.activeElement.getAttribute('aria-expanded')") == "true"
    browser.press(Keys.ARROW_DOWN)
    assert browser.focused() == third
    browser.press(Keys.ESCAPE)
    assert (browser.opened(), browser.focused()) == (0, second)
    browser.press(Keys.HOME, Keys.ARROW_UP)
    assert browser.focused() == "search"
    browser.press(Keys.ESCAPE)
    assert browser.count() == "100 hosts"


def test_everything_can_be_reached_by_tab_and_shows_its_focus(browser):
    browser.open(fleet(3))
    browser.js("document.activeElement.blur(); window.scrollTo(0, 0)")
    seen = []
    for _ in range(200):
        browser.press(Keys.TAB)
        if browser.js("return document.activeElement === document.body"):
            break
        # The outline, or for what lies upon a segment the page's own mark.
        style = browser.js("const s = getComputedStyle(document.activeElement); return [s.outlineStyle, parseFloat(s.outlineWidth)]")
        assert style[0] != "none" and style[1] >= 2, browser.focused()
        seen.append(browser.js("return document.activeElement.outerHTML.slice(0, 80)"))
    wanted = browser.js(
        "return [...document.querySelectorAll('a, button, input, summary, select')].filter((e) => e.checkVisibility()).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert seen == wanted


def test_controls_have_names(browser):
    browser.open(fleet(100, hostile=True))
    browser.js("document.querySelector('.opener').click()")
    tree = browser.do("Accessibility.getFullAXTree")["nodes"]
    roles = {"button", "searchbox", "combobox", "link", "table", "columnheader", "image", "region"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node["ignored"] and node["role"]["value"] in roles
    ]
    assert {"button", "searchbox", "table", "columnheader", "image"} <= {role for role, _ in named}
    assert [role for role, name in named if not name.strip()] == []


def test_detail(browser):
    browser.open(fleet(40))
    browser.js("document.querySelector('#host-9 .opener').click()")
    text = browser.text("#detail-9")
    for words in (
        "Blocked",
        "secure_boot_refuses_unsigned",
        "What you can do: Prefer a signed kernel",
        "Option that allows it: module_signing",
    ):
        assert words in text
    for words in (
        "Steps that are possible anyway",
        "nic_driver: kernel",
        "needs a reboot",
        "lacks mana_ib",
        "packages linux-image-cloud-amd64",
    ):
        assert words in text
    for words in (
        "mana_ib_missing",
        "Remedy: Kernel 6.2 or newer",
        "eth0",
        "00:22:48:00:09:00",
        "7870:00:00.0",
        "proven by measured traffic",
    ):
        assert words in text
    for index, wanted in (
        (1, ["Planned steps", "Packages not asked for yet", "linux-image-azure", "function 7871:00:00.0"]),
        (7, ["Advice", "dpdk_vf_readd_unreliable", "userspace"]),
        (0, ["Nothing to do"]),
        (11, ["Unreachable", "Connection timed out"]),
        (13, ["Failed", "nic_info_failed", "not found\nexit status 127"]),
        (15, ["Nothing more is known"]),
        (17, ["Could not be read", "lockdown: Permission denied"]),
    ):
        browser.js("document.querySelector(`#host-${arguments[0]} .cell-system`).click()", index)  # anywhere in the row
        assert [words for words in wanted if words not in browser.text(f"#detail-{index}")] == []
    browser.click("th.cell-host button")
    assert browser.opened() == 8  # they stay open when the order changes


def test_pages(browser):
    browser.open(fleet(5000))
    seen = set(browser.names())
    browser.js("document.querySelector('[data-page=next]').focus()")
    for _ in range(99):
        browser.js("document.activeElement.click()")
        seen.update(browser.names())
    assert len(seen) == 5000
    assert browser.js("return document.activeElement.dataset.page") == "next"  # the focus stays, also on the last page
    assert "Page 100 of 100" in browser.text("#pages")
    browser.search("edge")
    assert "Page 1 of" in browser.text("#pages")


def test_stays_quick(browser):
    """Each change within what people take for at once, on a slow machine too."""
    browser.open(fleet(5000, hostile=True))
    times = browser.js(
        """const took = (change) => { const begin = performance.now(); change(); document.body.offsetHeight; return performance.now() - begin; };
        const search = document.querySelector("#search");
        const type = (words) => took(() => { search.value = words; search.dispatchEvent(new Event("input")); });
        return [type("w"), type("web1"), type("vf_ azure"), type(""), ...[...document.querySelectorAll("th button")].map((b) => took(() => b.click())),
          ...[...document.querySelectorAll(".panel-verdict .key")].map((k) => took(() => k.click()))]"""
    )
    assert max(times) < 1000, times
    assert sorted(times)[len(times) // 2] < 300, times


CONTRAST = """
const parse = (text) => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (node) => { for (; node; node = node.parentElement) { const c = parse(getComputedStyle(node).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255]; };
const poor = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let texts = 0;
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || node.closest("script, style, noscript") || !node.checkVisibility()) continue;
  const style = getComputedStyle(node), isSvg = node instanceof SVGElement;
  const back = isSvg && node.closest(".segment:not(.empty)") ? parse(getComputedStyle(node.closest(".segment").querySelector("rect")).fill) : ground(node.closest("svg") || node);
  const [a, b] = [light(parse(isSvg ? style.fill : style.color)), light(back)].sort((x, y) => y - x);
  texts += 1;
  if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(`${node.tagName}.${node.className.baseVal ?? node.className}: ${walker.currentNode.textContent.slice(0, 30)} ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
}
return [texts, [...new Set(poor)]];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser, scheme):
    browser.open(fleet(40), scheme=scheme)
    browser.choose("verdict", "orphaned")
    browser.choose("verdict", "accelerated")
    browser.choose("verdict", "degraded")
    browser.js(
        "for (const o of document.querySelectorAll('.opener')) o.click(); for (const m of document.querySelectorAll('.panel > .link')) m.click()"
    )
    texts, poor = browser.js(CONTRAST)
    assert texts > 400
    assert poor == []


def test_theme_follows_the_system_until_chosen(browser):
    ground = "return getComputedStyle(document.documentElement).backgroundColor"
    browser.open(fleet(3), scheme="light")
    light = browser.js(ground)
    browser.scheme("dark")
    dark = browser.js(ground)
    assert light != dark
    assert browser.text("#theme") == "Light"
    browser.click("#theme")
    assert (browser.js(ground), browser.text("#theme")) == (light, "Dark")
    browser.scheme("light")
    browser.click("#theme")
    assert browser.js(ground) == dark


@pytest.mark.parametrize("width", [320, 360, 768, 905, 1100, 1366])
def test_nothing_is_wider_than_the_screen(browser, width):
    browser.open(fleet(100, hostile=True), (width, 740))
    browser.js("document.querySelector('#breakdown').open = true; for (const o of document.querySelectorAll('.opener')) o.click()")
    browser.js("for (const m of document.querySelectorAll('.panel > .link')) m.click()")
    wide = browser.js(
        "return [...document.querySelectorAll('main *')].filter((e) => e.checkVisibility() && !e.closest('.hidden') && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 90))"
    )
    assert wide == []
    assert browser.js("return document.documentElement.scrollWidth") <= width
    # Nor does anything in the table run into its neighbour.
    over = browser.js(
        "return [...document.querySelectorAll('#rows .host td')].filter((c) => c.checkVisibility() && c.scrollWidth > c.clientWidth + 1).map((c) => c.textContent)"
    )
    assert over == []


def test_phone(browser):
    browser.open(fleet(100), PHONE)
    assert not browser.js("return document.querySelector('thead').checkVisibility()")
    assert not browser.js("return document.querySelector('#breakdown').open")
    browser.js("const s = document.querySelector('#sort'); s.value = 'host'; s.dispatchEvent(new Event('change'))")
    assert (
        browser.names()[0] == "app3.westeurope.example.net"
        or browser.names() == sorted(browser.names(), key=lambda n: (n.rstrip("0123456789"), n))[:50]
        or browser.names()[0].startswith("app")
    )
    heights = browser.js(
        "return [...document.querySelectorAll('.key, .opener, #search, .quiet')].filter((e) => e.checkVisibility()).map((e) => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 24


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_print(browser, size):
    browser.open(fleet(size, hostile=True), scheme="dark")
    before = browser.names()
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF-")
    pages = pdf.count(b"/Type /Page\n") or pdf.count(b"/Type /Page")
    assert pages >= 1
    assert (browser.names(), browser.opened()) == (before, 1 if size == 1 else 0)


def test_paper_shows_what_is_wrong_and_nothing_to_press(browser):
    browser.open(fleet(5000), scheme="dark")
    browser.do("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert len(browser.names()) == 500
    assert browser.opened() == 100
    assert browser.text("#print-note").startswith("4,500 further hosts are not printed")
    assert (
        browser.js(
            "return [...document.querySelectorAll('input, select, #theme, th button, #pages')].filter((e) => e.checkVisibility()).length"
        )
        == 0
    )
    assert browser.js("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.js("return document.querySelector('#glossary').checkVisibility()")
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert (len(browser.names()), browser.opened()) == (50, 0)
