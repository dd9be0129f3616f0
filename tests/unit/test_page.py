# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page as a file: what is in it, what cannot get into it, how large it gets. tests/page looks at it in a browser."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from pathlib import Path

import pytest
from ansible_collections.accelnet.mana.plugins.plugin_utils import _page
from fleets import HOSTILE_NAMES, fleet

ASSETS = Path(_page.__file__).parent / "page"


class Page(html.parser.HTMLParser):
    """The elements of a page, and the text of its scripts and styles, as an HTML parser sees them."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.inline = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inline.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        if self.lasttag in ("script", "style") and self.inline and not data.isspace():
            self.inline[-1][2] += data

    @property
    def policy(self):
        return next(a["content"] for tag, a in self.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")

    @property
    def data(self):
        return json.loads(next(text for tag, attributes, text in self.inline if attributes.get("type") == "application/json"))


def host_names(page):
    return [row[0] for row in page.data["hosts"]]


@pytest.mark.parametrize("size", [0, 1, 40])
def test_elements_do_not_depend_on_the_hosts(size):
    """However hostile the hosts are, the markup is the template's."""
    elements = Page(_page.render(fleet(size, hostile=True))).elements
    assert [e for e in elements if e[0] != "meta"] == [e for e in Page(_page.render(fleet(0))).elements if e[0] != "meta"]


def test_hostile_names_arrive_unchanged():
    assert host_names(Page(_page.render(fleet(40, hostile=True))))[: len(HOSTILE_NAMES)] == list(HOSTILE_NAMES)


def test_data_cannot_end_its_element():
    text = _page.render(fleet(40, hostile=True))
    data = text.split('id="report">', 1)[1].split("</script>", 1)[0]
    assert json.loads(data)["run"]["goal"] == "rdma"
    assert not set("<>&\u2028\u2029\u202e") & set(data)
    assert data.isascii()


def test_placeholders_in_data_stay_data():
    names = ["@data@", "@script@", "@policy@", "\\g<0>", "\\1"]
    report = fleet(len(names))
    for row, name in zip(report["hosts"], names):
        row["host"] = name
    assert host_names(Page(_page.render(report))) == names


def test_every_text_of_a_report_is_escaped():
    """Not only the names: whatever a host or a file says may be hostile."""
    evil = "</script><script>alert(1)</script>"

    def poison(value):
        if isinstance(value, dict):
            return {key: poison(item) for key, item in value.items()}
        if isinstance(value, list):
            return [poison(item) for item in value]
        return evil if isinstance(value, str) else value

    text = _page.render(poison(fleet(20)))
    assert evil not in text
    assert len(re.findall(r"<script", text)) == len(re.findall(r"<script", _page.render(fleet(0))))


def test_policy_allows_the_scripts_and_styles_of_the_page_and_nothing_else():
    page = Page(_page.render(fleet(3, hostile=True)))
    directives = {part.split()[0]: part.split()[1:] for part in page.policy.split("; ")}
    assert directives.pop("default-src") == ["'none'"]
    assert directives.pop("base-uri") == ["'none'"]
    assert directives.pop("form-action") == ["'none'"]
    for tag in ("script", "style"):
        texts = [text for name, attributes, text in page.inline if name == tag and attributes.get("type") != "application/json"]
        sums = [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]
        assert directives.pop(f"{tag}-src") == sums
    assert directives == {"require-trusted-types-for": ["'script'"], "trusted-types": ["'none'"]}


def test_policy_comes_before_what_it_governs():
    tags = [
        tag for tag, attributes in Page(_page.render(fleet(1))).elements if tag in ("script", "style", "link") or "http-equiv" in attributes
    ]
    assert tags == ["meta", "style", "script", "script"]


def test_page_is_complete_in_itself():
    page = Page(_page.render(fleet(3)))
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "srcset", "action", "style"} & set(attributes)
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    assert not re.search(r"@import|https?:|url\((?!\"#)", style)


def test_script_puts_text_into_the_page_only_as_text():
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    dangerous = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|setHTML|createContextualFragment|srcdoc"
    )
    assert not re.search(dangerous, script)
    assert not re.search(r"localStorage|sessionStorage|indexedDB|cookie|fetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", script)
    assert re.findall(r"https?://[^\s\"']+", script) == ["http://www.w3.org/2000/svg"]  # a name, not an address
    for name in ("page.js", "page.css"):
        assert "</" not in (ASSETS / name).read_text(encoding="utf-8")


def test_same_report_gives_the_same_page():
    assert _page.render(fleet(30, hostile=True)) == _page.render(fleet(30, hostile=True))


def test_size_grows_by_little_for_each_host():
    """5,000 hosts are to be a file that one can mail."""
    empty, small, large = (len(_page.render(fleet(size)).encode()) for size in (0, 1000, 5000))
    assert empty < 80_000
    assert (large - small) / 4000 < 250


def test_raw_facts_stay_out():
    report = fleet(2)
    report["hosts"][0]["facts"] = {"secret": "raw-facts"}
    report["hosts"][0]["steps"] = [
        {"role": "nic_driver", "action": "load", "why": "why-text", "provides": ["provides-text"], "needs": ["needs-text"]}
    ]
    text = _page.render(report)
    assert "why-text" in text
    assert not re.search("raw-facts|provides-text|needs-text", text)


def test_measured_no_is_kept_apart_from_not_measured():
    report = fleet(3)
    for row, proven in zip(report["hosts"], (True, False, None)):
        row["nics"] = [{**row["nics"][0], "proven": proven}]
    data = Page(_page.render(report)).data
    assert [data["values"][row[2][0][2]].get("proven", "absent") for row in data["hosts"]] == [True, False, "absent"]


def test_sparse_report_is_rendered():
    data = Page(_page.render({"hosts": [{"host": "alone"}]})).data
    assert [row[0] for row in data["hosts"]] == ["alone"]
