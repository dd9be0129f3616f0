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
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

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
PROBES = (Path(__file__).parent / "probes.js").read_text(encoding="utf-8")
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

    def probe(self, name, *arguments):
        return self.js("return window.probe[arguments[0]](...arguments[1])", name, list(arguments))

    def open(self, report, size=DESKTOP, scheme="light"):
        path = self.directory / "report.html"
        path.write_text(render(report), encoding="utf-8")
        self.resize(size)
        self.scheme(scheme)
        self.driver.get("about:blank")
        self.problems()
        self.driver.get(path.as_uri())
        self.js(PROBES)

    def resize(self, size):
        self.do("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=size[0] < 600)

    def scheme(self, scheme):
        self.do("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def problems(self):
        """What the console says, and every request for anything but the page that got out, since last asked."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = {e["params"]["requestId"]: e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
        for event in events:
            if event["method"] == "Network.loadingFailed" and event["params"].get("blockedReason") == "csp":
                sent.pop(event["params"]["requestId"], None)
        page = (self.directory / "report.html").as_uri()
        return said + [url for url in sent.values() if url not in (page, "about:blank")]

    def press(self, *keys):
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def search(self, words):
        self.js("const s = document.querySelector('#search'); s.focus(); s.select();")
        self.press(words or Keys.BACKSPACE)

    def click(self, selector):
        self.js("document.querySelector(arguments[0]).click()", selector)

    def choose(self, facet, value):
        self.probe("choose", facet, value)

    def names(self):
        return self.probe("texts", "#rows .name")

    def column(self, name):
        return self.probe("texts", f"#rows .cell-{name}")

    def count(self):
        return self.probe("texts", "#count")[0]

    def focused(self):
        return self.probe("focused")

    def open_all(self):
        self.probe("clickAll", ".opener")
        self.probe("clickAll", ".panel > .link")

    def opened(self):
        return len(self.probe("texts", "#rows .detail"))

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
    browser.open_all()
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
    assert "http://192.0.2.1/x.png" not in said


def test_search(browser):
    browser.open(fleet(100))
    browser.search("ubuntu VF_not")
    rows = [row for row in fleet(100)["hosts"] if row["distribution"] == "ubuntu" and "vf_not" in " ".join(row["reasons"])]
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
    for _round in range(2):
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
    browser.probe("choose", "verdict", "degraded")
    browser.js("document.querySelectorAll('#filters .chip')[1].click()")
    assert set(browser.column("verdict")) == {"orphaned"}
    assert len(set(browser.column("system"))) > 1
    browser.js("document.querySelector('#filters .link').click()")
    assert browser.count() == "100 hosts"


def test_every_chart_filters_to_what_it_counts(browser):
    browser.open(fleet(100))
    found = browser.probe("chooseEach")
    assert len(found) > 25
    assert [row for row in found if row[1] != row[2]] == []


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
    for _round in range(200):
        browser.press(Keys.TAB)
        if browser.js("return document.activeElement === document.body"):
            break
        style = browser.js("const s = getComputedStyle(document.activeElement); return [s.outlineStyle, parseFloat(s.outlineWidth)]")
        assert style[0] != "none" and style[1] >= 2, browser.focused()
        seen.append(browser.js("return document.activeElement.outerHTML.slice(0, 90)"))
    wanted = browser.probe("visible", "a, button, input, summary, select")
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
    assert {"button", "searchbox", "table", "columnheader", "image"} <= {role for role, _name in named}
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
    browser.open(fleet(1000))
    assert browser.probe("leafThrough") == 1000
    assert browser.js("return document.activeElement.dataset.page") == "next"  # the focus stays, also on the last page
    assert "Page 20 of 20" in browser.text("#pages")
    browser.search("edge")
    assert "Page 1 of" in browser.text("#pages")


def test_stays_quick(browser):
    """Each change within what people take for at once, on a slow machine too."""
    browser.open(fleet(5000, hostile=True))
    times = browser.probe("times")
    assert max(times) < 2000, times
    assert sorted(times)[len(times) // 2] < 500, times


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser, scheme):
    browser.open(fleet(40), scheme=scheme)
    browser.open_all()
    for verdict in ("orphaned", "degraded", "accelerated"):
        browser.choose("verdict", verdict)
        count, poor = browser.probe("contrast")
        assert count > 300
        assert poor == []


def test_theme_follows_the_system_until_chosen(browser):
    def ground(wanted):
        # The page hears of a changed system when it next draws.
        WebDriverWait(browser.driver, 5).until(lambda _driver: browser.text("#theme") == wanted)
        return browser.js("return getComputedStyle(document.documentElement).backgroundColor")

    browser.open(fleet(3), scheme="light")
    light = ground("Dark")
    browser.scheme("dark")
    dark = ground("Light")
    assert light != dark
    browser.click("#theme")
    assert ground("Dark") == light
    browser.scheme("light")
    browser.click("#theme")
    assert ground("Light") == dark


@pytest.mark.parametrize("width", [320, 360, 768, 905, 1100, 1366])
def test_nothing_is_wider_than_the_screen(browser, width):
    browser.open(fleet(40, hostile=True), (width, 740))  # all on one page
    browser.js("document.querySelector('#breakdown').open = true")
    browser.open_all()
    assert browser.probe("tooWide") == []
    assert browser.js("return document.documentElement.scrollWidth") <= width
    # Nor does anything in the table run into its neighbour.
    assert browser.probe("overflowing") == []


def test_phone(browser):
    report = fleet(40)
    for number, row in enumerate(report["hosts"]):
        row["host"] = f"web{40 - number}"
    browser.open(report, PHONE)
    assert browser.probe("visible", "thead") == []
    assert not browser.js("return document.querySelector('#breakdown').open")
    browser.js("const s = document.querySelector('#sort'); s.value = 'host-'; s.dispatchEvent(new Event('change'))")
    assert browser.names() == [f"web{number}" for number in range(40, 0, -1)]
    browser.js("document.querySelector('#rows .host').click()")
    assert browser.opened() == 1


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_print(browser, size):
    browser.open(fleet(size, hostile=True), scheme="dark")
    before = browser.names()
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF-")
    assert (browser.names(), browser.opened()) == (before, 1 if size == 1 else 0)


def test_paper_shows_what_is_wrong_and_nothing_to_press(browser):
    browser.open(fleet(5000), scheme="dark")
    browser.do("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert len(browser.names()) == 300
    assert browser.opened() == 60
    assert browser.text("#print-note").startswith("4,700 further hosts are not printed")
    assert browser.probe("visible", "input, select, #theme, th button, #pages, .link") == []
    assert browser.js("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.probe("visible", "#glossary") != []
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert (len(browser.names()), browser.opened()) == (50, 0)
