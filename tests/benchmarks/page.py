# Copyright: (c) 2026, The accelnet.mana authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of 5,000 hosts: made on the controller, drawn by headless Chromium, searched key by key.

The hosts are those of the example fleet, over and over under names of their own.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .measure import ROOT, machine, ms, table

# What a person types, key by key, each once the page has been drawn again; answers how long each took.
TYPE = """
const [words, done] = arguments, box = document.querySelector("#search"), found = [];
const key = (place) => {
  if (place > words.length) return done(found);
  const begin = performance.now();
  box.value = words.slice(0, place);
  box.dispatchEvent(new Event("input", {bubbles: true}));
  requestAnimationFrame(() => setTimeout(() => { found.push((performance.now() - begin) / 1000); key(place + 1); }));
};
key(1);
"""
LOAD = """
const [done] = arguments;
const ready = () => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  if (paint && document.readyState === "complete") done([paint.startTime / 1000, document.querySelectorAll("#rows > tr").length]);
  else setTimeout(ready, 10);
};
ready();
"""
WORDS = "debian-12"
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"


def make_run(folder: Path, hosts: int) -> str:
    """The directory of a run that looked at so many hosts."""
    from ansible_collections.accelnet.mana.plugins.module_utils import _facts
    from ansible_collections.accelnet.mana.plugins.module_utils._reasons import AccelnetError
    from ansible_collections.accelnet.mana.plugins.plugin_utils import _planner, _run_files

    known = []
    for path in sorted((ROOT / "examples/fleet/snapshots").glob("*.json")):
        try:
            facts = _facts.collect(str(path))
        except AccelnetError:  # one of them is broken on purpose
            continue
        known.append((path.stem, facts, _planner.plan(facts, "rdma", [], {})))
    names = [f"{known[number % len(known)][0]}-{number}.westeurope.example.net" for number in range(hosts)]
    run_dir, _run_id = _run_files.begin_run(str(folder), None, {"goal": "rdma", "playbook": "audit", "hosts": names, "policy": {}})
    for number, name in enumerate(names):
        _stem, facts, plan = known[number % len(known)]
        _run_files.write_json(_run_files.host_path(run_dir, name), _run_files.result(name, "rdma", "ok", None, facts, plan))
    return run_dir


def controller(run_dir: str, rounds: int) -> list[tuple[str, str, str]]:
    """What report_fleet does, part by part; leaves the page in the run directory."""
    from ansible_collections.accelnet.mana.plugins.plugin_utils import _junit, _page, _report, _run_files

    report = _report.collect(run_dir)
    parts: dict[str, Callable[[], Any]] = {
        "read and aggregate the hosts' files": lambda: _report.collect(run_dir),
        "write report.json": lambda: _run_files.write_json(f"{run_dir}/report.json", report),
        "write report.html": lambda: _run_files.write_text(f"{run_dir}/report.html", _page.render(report)),
        "write junit.xml": lambda: _run_files.write_text(f"{run_dir}/junit.xml", _junit.render(report)),
    }
    rows = []
    for name, part in parts.items():
        spent = []
        for _round in range(rounds):
            before = time.process_time()
            part()
            spent.append(time.process_time() - before)
        file = Path(run_dir, name.removeprefix("write "))
        rows.append((name, f"{statistics.median(spent):.2f} s CPU", f"{file.stat().st_size / 1e6:.1f} MB" if file.is_file() else ""))
    return rows


def browser(page: Path, rounds: int, profile: Path) -> list[tuple[str, str, str]]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}", "--window-size=1366,900"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    loads, first_keys, later_keys, cpu_load, cpu_keys = [], [], [], [], []
    try:
        # Times of the page's thread, not of the clock: other work on the machine does not count.
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})

        def busy() -> float:
            metrics = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
            return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))

        for _round in range(rounds):
            driver.get("about:blank")
            before = busy()
            driver.get(page.as_uri())
            loads.append(driver.execute_async_script(LOAD))
            loaded = busy()
            # The thread may be a new one with the page, and then counts from zero.
            cpu_load.append(loaded - before if loaded > before else loaded)
            first, *later = driver.execute_async_script(TYPE, WORDS)
            cpu_keys.append((busy() - loaded) / len(WORDS))
            first_keys.append(first)
            later_keys += later
    finally:
        driver.quit()
    paint, shown = (statistics.median(column) for column in zip(*loads))
    return [
        ("open the page, to the first paint", f"{ms(paint)} wall", f"{shown:.0f} rows shown"),
        ("open the page, the page's thread", f"{ms(statistics.median(cpu_load))} CPU", ""),
        ("a key in the search, the page's thread", f"{ms(statistics.median(cpu_keys))} CPU", f"mean of the {len(WORDS)} keys of {WORDS}"),
        ("the first key, to the frame that shows it", f"{ms(statistics.median(first_keys))} wall", ""),
        ("a later key, to the frame that shows it", f"{ms(statistics.median(later_keys))} wall", f"worst {ms(max(later_keys))}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"## The report of {arguments.hosts} hosts\n\n{machine()}\n")
    with tempfile.TemporaryDirectory(prefix="accelnet-bench-") as name:
        run_dir = make_run(Path(name) / "reports", arguments.hosts)
        rows = controller(run_dir, arguments.rounds)
        try:
            rows += browser(Path(run_dir, "report.html"), arguments.rounds, Path(name) / "profile")
        except ImportError:
            print("SKIPPED: the browser, selenium is not installed\n")
        table(("what", "median", ""), rows)


if __name__ == "__main__":
    main()
