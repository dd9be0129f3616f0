/* Copyright: (c) 2026, The accelnet.mana authors. SPDX-License-Identifier: GPL-3.0-or-later */
(() => {
  "use strict";

  // Everything in the report comes from hosts that may be hostile: it reaches the page as text, never as markup.
  const report = JSON.parse(document.getElementById("report").textContent);
  const value = (number) => report.values[number];
  const byId = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const PAGE_SIZE = 50;
  const PRINT_ROWS = 300;
  const PRINT_DETAILS = 60;
  const names = new Intl.Collator("en", { numeric: true });

  /* ---------- making elements ---------- */

  // Control and direction characters could make one host look like another; a joiner inside an emoji may stay.
  const INVISIBLE = /(?!\u200d)[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\u115f\u1160\u2800\u3164\uffa0]/gu;
  const shown = (text) => String(text).replace(INVISIBLE, (c) => `\u2039U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`);

  function fill(node, attributes, children) {
    for (const [name, content] of Object.entries(attributes || {})) {
      if (content === true) node.setAttribute(name, "");
      else if (content !== null && content !== undefined && content !== false) node.setAttribute(name, content);
    }
    for (const child of children.flat(Infinity)) {
      if (child !== null && child !== undefined && child !== false) node.append(child instanceof Node ? child : shown(child));
    }
    return node;
  }
  const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
  // Long names may break where a reader would break them; what is copied stays whole.
  const broken = (text) => String(text).split(/(?<=[._/@-])(?=[^._/@-])/).flatMap((part, place) => (place ? [document.createElement("wbr"), part] : [part]));
  const bdi = (text, cls) => el("bdi", cls ? { class: cls } : null, broken(text));
  const code = (text) => el("code", null, broken(text));
  const message = (text) => el("p", { class: "message" }, document.createTextNode(String(text).split(/\r?\n/).map(shown).join("\n")));
  const many = (count, one, more = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;

  /* ---------- vocabulary: every value has a word and a shape, colour only supports them ---------- */

  const SHAPES = {
    tick: "M8 1.2a6.8 6.8 0 1 0 0 13.6A6.8 6.8 0 0 0 8 1.2Zm3.9 5L7.3 11 4.2 8l1.2-1.2 1.9 1.9 3.4-3.6Z",
    cross: "M5.2 1.2h5.6l4 4v5.6l-4 4H5.2l-4-4V5.2Zm0 4.9L7.1 8l-1.9 1.9 1 1L8 9l1.8 1.9 1-1L8.9 8l1.9-1.9-1-1L8 7 6.2 5.100Z",
    warning: "M8 1.3 15.3 14.300H.7Zm-.9 4.400v4.400h1.800V5.700Zm0 5.500v1.700h1.800v-1.700Z",
    slow: "M8 1.200a6.8 6.8 0 1 0 0 13.600A6.8 6.8 0 0 0 8 1.200Zm0 1.600v10.400A5.2 5.2 0 0 1 8 2.800Z",
    out: "M2.5 2.500h5v1.700H4.200v7.600h7.600V8.500h1.700v5h-11Zm6.4-1.300h5.900v5.900h-1.800V4.300L8.3 9 7 7.7 11.7 3H8.900Z",
    dash: "M8 1.200a6.8 6.8 0 1 0 0 13.600A6.8 6.8 0 0 0 8 1.200ZM4.5 7.100h7v1.800h-7Z",
    unknown: "M8 1.200a6.8 6.8 0 1 0 0 13.600A6.8 6.8 0 0 0 8 1.200Zm0 1.500a5.3 5.3 0 1 1 0 10.600A5.3 5.3 0 0 1 8 2.700ZM7.2 10.700h1.600v1.500H7.200ZM8 3.900c1.6 0 2.6.9 2.6 2.2 0 1.7-1.8 1.9-1.8 3.400H7.200c0-2.1 1.7-2.4 1.7-3.3 0-.5-.3-.8-.9-.8-.7 0-1 .4-1 1H5.400c0-1.5 1-2.5 2.6-2.500Z",
    steps: "M1.5 2.500h3v3h-3Zm4.5.7h8.500v1.600H6ZM1.5 6.500h3v3h-3ZM6 7.200h8.500v1.600H6ZM1.5 10.500h3v3h-3Zm4.5.7h8.500v1.600H6Z",
  };
  const WORDS = {
    accelerated: ["good", "tick", "traffic can use the hardware"],
    userspace: ["handed", "out", "given to DPDK, as asked"],
    synthetic: ["slow", "slow", "no hardware path is in use"],
    degraded: ["poor", "warning", "hardware path there, but not right"],
    orphaned: ["bad", "cross", "hardware there, without a driver"],
    unsupported: ["plain", "dash", "not an interface of Azure"],
    "no verdict": ["empty", "unknown", "no NIC was seen"],
    met: ["good", "tick", "nothing to do"],
    "steps planned": ["slow", "steps", "not met; the planned steps lead there"],
    blocked: ["poor", "cross", "not met; no allowed step leads there"],
    "not met": ["poor", "warning", "and no way is known"],
    "not known": ["empty", "unknown", "the host did not show enough"],
    ok: ["good", "tick"],
    failed: ["bad", "cross"],
    unreachable: ["poor", "warning"],
    "not run": ["empty", "unknown"],
  };
  const tone = (word) => (WORDS[word] || ["plain"])[0];
  const icon = (shape) => svg("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: SHAPES[shape], "fill-rule": "evenodd" }));
  const label = (word) => el("span", { class: `label ${tone(word)}` }, icon((WORDS[word] || [0, "dash"])[1]), el("span", null, word));

  /* ---------- the hosts ---------- */

  const hosts = report.hosts.map(([host, shared, nics, steps, blocked, advice, warnings, error], index) => {
    const row = { index, host, error, steps: steps.map(value), blocked: blocked.map(value), advice: advice.map(value), warnings: warnings.map(value) };
    report.columns.forEach((column, place) => { row[column] = value(shared[place]); });
    row.nics = nics.map(([mac, pci, common]) => ({ mac, pci, reasons: [], ...value(common) }));
    row.kinds = row.kinds || [];
    row.reasons = row.reasons || [];
    row.unknown = row.unknown || [];
    row.status = String(row.status || "not run").replace("_", " ");
    row.verdict = row.verdict || "no verdict";
    if (row.met === true) row.goal = "met";
    else if (row.met !== false) row.goal = "not known";
    else row.goal = row.blocked.length ? "blocked" : row.steps.length ? "steps planned" : "not met";
    row.system = [row.distribution, row.release].filter(Boolean).join(" ");
    return row;
  });

  // Worst first. A host that told nothing may hide anything: it comes after what is known to be wrong.
  const VERDICTS = [...report.verdicts];
  VERDICTS.splice(2, 0, "no verdict");
  const GOALS = ["blocked", "not met", "steps planned", "not known", "met"];
  const STATES = ["failed", "unreachable", "not run", "ok"];
  [...hosts].sort((a, b) => names.compare(a.host, b.host)).forEach((row, rank) => { row.rank = rank; });

  const text = (row) => {
    if (row.text === undefined) {
      const parts = [row.host, row.status, row.verdict, row.goal, row.system, row.kernel, row.architecture, row.kinds, row.reasons, row.warnings, row.unknown];
      parts.push(row.nics.map((nic) => [nic.interface, nic.mac, nic.pci]), row.blocked.map((block) => [block.reason, block.subject, block.option]));
      parts.push(row.steps.map((step) => [step.role, step.action, step.packages]), row.error && [row.error.reason, row.error.message]);
      row.text = parts.flat(3).filter(Boolean).join("\n").toLowerCase();
    }
    return row.text;
  };

  /* ---------- filters ---------- */

  const FACETS = {
    verdict: { title: "Verdict", order: VERDICTS, of: (row) => [row.verdict] },
    goal: { title: "Goal", order: GOALS, of: (row) => [row.goal] },
    reason: { title: "Reason", of: (row) => row.reasons, code: true },
    kind: { title: "NIC kind", of: (row) => (row.kinds.length ? row.kinds : ["none seen"]) },
    system: { title: "Distribution", of: (row) => [row.system || "not known"] },
    status: { title: "State", order: STATES, of: (row) => [row.status] },
  };
  for (const facet of Object.values(FACETS)) {
    facet.chosen = new Set();
    facet.total = new Map();
    for (const row of hosts) for (const item of facet.of(row)) facet.total.set(item, (facet.total.get(item) || 0) + 1);
    const place = (item) => (facet.order ? facet.order.indexOf(item) : -facet.total.get(item));
    facet.items = [...facet.total.keys()].sort((a, b) => place(a) - place(b) || names.compare(a, b));
  }
  const view = { words: [], sort: "verdict", down: false, page: 0, open: new Set(), rows: hosts, printing: false };

  const fits = (row, except) =>
    Object.values(FACETS).every((facet) => facet === except || !facet.chosen.size || facet.of(row).some((item) => facet.chosen.has(item))) &&
    view.words.every((word) => text(row).includes(word));
  const isFiltered = () => view.words.length > 0 || Object.values(FACETS).some((facet) => facet.chosen.size);

  function choose(facet, item) {
    if (!facet.chosen.delete(item)) facet.chosen.add(item);
    view.page = 0;
    update();
  }
  function clear() {
    for (const facet of Object.values(FACETS)) facet.chosen.clear();
    byId("search").value = "";
    view.words = [];
    view.page = 0;
    update();
  }

  /* ---------- the summary ---------- */

  const moment = (stamp) => {
    const parts = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(Z|\+00:00)?$/.exec(stamp || "");
    return parts ? el("time", { datetime: stamp }, `${parts[1]} ${parts[2]}${parts[3] ? " UTC" : ""}`) : stamp;
  };
  const list = (items) => (items.length < 2 ? items.join("") : `${items.slice(0, -1).join(", ")} and ${items[items.length - 1]}`);

  function summarise() {
    const { run_id: id, time, finished, goal } = report.run;
    const count = (facet, item) => FACETS[facet].total.get(item) || 0;
    const met = count("goal", "met");
    const all = hosts.length;
    let headline;
    if (!all) headline = "This run had no hosts.";
    else if (all === 1) headline = { met: "The host meets", "not known": "It is not known whether the host meets" }[hosts[0].goal] || "The host does not meet";
    else if (met === all) headline = `All ${all.toLocaleString("en")} hosts meet`;
    else headline = `${met ? met.toLocaleString("en") : "None"} of ${all.toLocaleString("en")} hosts ${met === 1 ? "meets" : "meet"}`;
    byId("headline").append(shown(headline), ...(all ? [" the goal ", el("em", null, goal || "?")] : []));
    document.title = `${shown(id || "report")} \u2013 accelnet.mana report`;

    const planned = count("goal", "steps planned");
    const blocked = count("goal", "blocked") + count("goal", "not met");
    const unknown = hosts.filter((row) => row.goal === "not known");
    const states = STATES.map((state) => [unknown.filter((row) => row.status === state).length, state]).filter(([number, state]) => number && state !== "ok").map(([number, state]) => (number === unknown.length ? state : `${number.toLocaleString("en")} ${state}`));
    const some = (number) => (all === 1 ? "It" : many(number, "host"));
    const sentences = [
      planned && `${some(planned)} would get there by the steps planned here.`,
      blocked && `${some(blocked)} ${blocked === 1 ? "needs" : "need"} a decision or work of yours first.`,
      unknown.length && all > 1 && `${some(unknown.length)} could not be judged${states.length ? ` (${list(states)})` : ""}.`,
    ];
    byId("lead").append(...sentences.filter(Boolean).map((sentence) => `${sentence} `));

    const facts = [["Run", code(id || "?")], ["Started", moment(time)]];
    if (typeof finished === "string") facts.push(["Finished", moment(finished)]);
    facts.push(["Hosts", all.toLocaleString("en")], ["NICs", hosts.reduce((sum, row) => sum + row.nics.filter((nic) => nic.interface || nic.mac).length, 0).toLocaleString("en")]);
    byId("about").append(...facts.map(([term, fact]) => el("div", null, el("dt", null, term), el("dd", null, fact))));
    if (!finished) byId("notices").append(el("p", { class: "notice" }, icon("warning"), "This run was not finished: hosts that it did not come to are listed as not run."));
  }

  /* ---------- charts ---------- */

  // Not rounded up to all or down to nothing.
  function share(part, whole) {
    if (!whole || !part) return "0%";
    if (part === whole) return "100%";
    return part / whole < 0.01 ? "< 1%" : `${Math.min(99, Math.round((100 * part) / whole))}%`;
  }
  const pattern = (id) =>
    svg("pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      svg("rect", { width: 6, height: 6, class: "stripe-back" }), svg("rect", { width: 2.5, height: 6, class: "stripe" }));

  function drawKey(facet, item, plain) {
    const words = facet.order && WORDS[item];
    facet.keys = facet.keys || new Map();
    const count = el("span", { class: "key-count" });
    const bar = plain && svg("svg", { class: "bar", "aria-hidden": "true" }, svg("rect", { class: "track", width: "100%", height: "100%", rx: 3 }), svg("rect", { class: "value", height: "100%", rx: 3 }));
    const button = el("button", { type: "button", class: `key${plain ? " plain-key" : ""}`, "aria-pressed": "false", "data-value": item, title: facet.code && report.reasons[item] ? shown(report.reasons[item].meaning) : null },
      el("span", { class: `key-name ${words && !plain ? tone(item) : ""}` }, words && icon(words[1]), facet.code ? code(item) : bdi(item)), count, bar,
      words && words[2] && !plain && el("span", { class: "key-note" }, words[2]));
    button.addEventListener("click", () => choose(facet, item));
    facet.keys.set(item, { button, count, bar: bar && bar.lastChild });
    return el("li", null, button);
  }

  function drawMain(name, title, chart) {
    const facet = FACETS[name];
    facet.chart = chart;
    const nodes = el("ul", { class: "keys-list" }, facet.items.map((item) => drawKey(facet, item, false)));
    return el("section", { class: `panel panel-${name}`, "aria-labelledby": `chart-${name}` }, el("h2", { id: `chart-${name}` }, title), chart, nodes);
  }

  // A stacked bar: hosts by verdict.
  function drawStack(name) {
    const facet = FACETS[name];
    const chart = svg("svg", { class: "stack", role: "img" }, svg("defs", null, pattern("stripes-bar")));
    facet.segments = new Map();
    for (const item of facet.items) {
      const group = svg("g", { class: `segment ${tone(item)}` }, svg("rect", { height: "100%" }), svg("text", { y: "50%", dy: "0.36em" }), svg("title", null, item));
      group.addEventListener("click", () => choose(facet, item));
      facet.segments.set(item, group);
      chart.append(group);
    }
    let drawn;
    facet.refresh = (counts) => {
      drawn = counts;
      const room = chart.clientWidth;
      const all = facet.items.reduce((sum, item) => sum + counts.get(item), 0);
      // A single host among thousands still gets something to see and to hit.
      const widths = facet.items.map((item) => (counts.get(item) ? Math.max(counts.get(item) / all, 0.008) : 0));
      const scale = 100 / (widths.reduce((sum, width) => sum + width, 0) || 1);
      let x = 0;
      facet.items.forEach((item, place) => {
        const [rect, number] = facet.segments.get(item).children;
        const width = widths[place] * scale;
        rect.setAttribute("x", `${x}%`);
        rect.setAttribute("width", `${width}%`);
        number.setAttribute("x", `${x + width / 2}%`);
        const words = counts.get(item).toLocaleString("en");
        number.textContent = (width * room) / 100 > 10 * words.length + 8 ? words : "";
        x += width;
      });
      chart.setAttribute("aria-label", `${facet.title}: ${facet.items.map((item) => `${item} ${counts.get(item)}`).join(", ")}`);
    };
    new ResizeObserver(() => { if (drawn) facet.refresh(drawn); }).observe(chart);
    return chart;
  }

  // A ring: how many hosts meet the goal.
  function drawRing(name) {
    const facet = FACETS[name];
    const chart = svg("svg", { class: "ring", viewBox: "0 0 120 120", role: "img" }, svg("defs", null, pattern("stripes-ring")), svg("circle", { class: "ring-track", cx: 60, cy: 60, r: 48 }));
    facet.segments = new Map();
    for (const item of [...facet.items].reverse()) {
      const arc = svg("circle", { class: `arc ${tone(item)}`, cx: 60, cy: 60, r: 48, pathLength: 100, transform: "rotate(-90 60 60)" }, svg("title", null, item));
      arc.addEventListener("click", () => choose(facet, item));
      facet.segments.set(item, arc);
      chart.append(arc);
    }
    const number = svg("text", { class: "ring-number", x: 60, y: 62 });
    chart.append(number, svg("text", { class: "ring-note", x: 60, y: 79 }, "met"));
    facet.refresh = (counts) => {
      const all = facet.items.reduce((sum, item) => sum + counts.get(item), 0);
      let start = 0;
      for (const [item, arc] of facet.segments) {
        const length = all ? (100 * counts.get(item)) / all : 0;
        const gap = length < 100 && length > 2 ? 0.8 : 0;
        arc.setAttribute("stroke-dasharray", length ? `${length - gap} ${100 - length + gap}` : "0 100");
        arc.setAttribute("stroke-dashoffset", -start);
        arc.classList.toggle("gone", !length);
        start += length;
      }
      number.textContent = share(counts.get("met") || 0, all);
      chart.setAttribute("aria-label", `${number.textContent} meet the goal: ${facet.items.map((item) => `${item} ${counts.get(item)}`).join(", ")}`);
    };
    return chart;
  }

  // Bars: one line for each value, the commonest first, the long tail on demand.
  function drawBars(name, title) {
    const facet = FACETS[name];
    const FIRST = 7;
    const lines = facet.items.map((item) => drawKey(facet, item, true));
    const long = lines.length > FIRST + 1;
    const rest = long ? lines.slice(FIRST) : [];
    for (const line of rest) line.hidden = true;
    const more = long && el("button", { type: "button", class: "link", "aria-expanded": "false" }, `Show all ${lines.length}`);
    if (more) {
      more.addEventListener("click", () => {
        const open = more.getAttribute("aria-expanded") === "false";
        more.setAttribute("aria-expanded", open);
        more.textContent = open ? "Show fewer" : `Show all ${lines.length}`;
        for (const line of rest) line.hidden = !open;
      });
    }
    return el("section", { class: `panel panel-${name}`, "aria-labelledby": `chart-${name}` }, el("h2", { id: `chart-${name}` }, title),
      lines.length ? el("ul", { class: "bars" }, lines) : el("p", { class: "muted" }, "None."), more);
  }

  function drawCharts() {
    const verdicts = new Map();
    for (const row of hosts) for (const nic of row.nics) verdicts.set(nic.verdict, (verdicts.get(nic.verdict) || 0) + 1);
    const nics = VERDICTS.filter((verdict) => verdicts.has(verdict)).map((verdict) => `${verdicts.get(verdict).toLocaleString("en")} ${verdict}`);
    const main = drawMain("verdict", "Hosts by their worst verdict", drawStack("verdict"));
    if (nics.length) main.append(el("p", { class: "muted" }, `NICs and functions one by one: ${nics.join(", ")}.`));
    byId("main-charts").append(main, drawMain("goal", "Hosts by goal", drawRing("goal")));
    byId("more-charts").append(drawBars("reason", "Reasons"), drawBars("kind", "NIC kinds"), drawBars("system", "Distributions"), drawBars("status", "Host state"));
  }

  function updateCharts() {
    for (const facet of Object.values(FACETS)) {
      const counts = new Map(facet.items.map((item) => [item, 0]));
      for (const row of hosts) if (fits(row, facet)) for (const item of facet.of(row)) counts.set(item, counts.get(item) + 1);
      const most = Math.max(1, ...facet.total.values());
      for (const [item, key] of facet.keys || []) {
        const count = counts.get(item);
        key.count.textContent = count.toLocaleString("en");
        key.button.setAttribute("aria-pressed", facet.chosen.has(item));
        key.button.classList.toggle("zero", !count);
        if (key.bar) key.bar.setAttribute("width", count ? `${Math.max(1.5, (100 * count) / most)}%` : "0");
      }
      for (const [item, segment] of facet.segments || []) segment.classList.toggle("faded", facet.chosen.size > 0 && !facet.chosen.has(item));
      if (facet.refresh) facet.refresh(counts);
    }
  }

  /* ---------- the table ---------- */

  const COLUMNS = {
    host: { title: "Host", key: (row) => row.rank, cell: (row) => opener(row) },
    verdict: { title: "Verdict", key: (row) => VERDICTS.indexOf(row.verdict), cell: (row) => label(row.verdict) },
    goal: { title: "Goal", key: (row) => GOALS.indexOf(row.goal), cell: (row) => label(row.goal) },
    reasons: { title: "Reasons", key: (row) => row.reasons.join(" "), cell: (row) => brief(row.reasons, 2) },
    system: { title: "Distribution", key: (row) => row.system, cell: (row) => row.system && el("bdi", null, row.system) },
    kernel: { title: "Kernel", key: (row) => row.kernel || "", cell: (row) => row.kernel && bdi(row.kernel, "kernel") },
    kinds: { title: "NICs", key: (row) => row.kinds.join(" "), cell: (row) => row.kinds.join(", ") },
    status: { title: "State", key: (row) => STATES.indexOf(row.status), cell: (row) => (row.status === "ok" ? el("span", { class: "muted" }, "ok") : label(row.status)) },
  };

  const brief = (codes, most) =>
    codes.length ? el("span", { class: "codes" }, codes.slice(0, most).map((item) => code(item)), codes.length > most && el("span", { class: "muted" }, `and ${codes.length - most} more`)) : null;

  function compare(a, b) {
    const key = COLUMNS[view.sort].key;
    const [x, y] = [key(a), key(b)];
    let order;
    // What is empty stays last whichever way the rest goes.
    if (typeof x === "string" && (!x || !y)) order = (x ? -1 : 1) * (x === y ? 0 : 1);
    else order = (typeof x === "string" ? names.compare(x, y) : x - y) * (view.down ? -1 : 1);
    return order || GOALS.indexOf(a.goal) - GOALS.indexOf(b.goal) || a.rank - b.rank;
  }

  function opener(row) {
    const open = view.open.has(row.index);
    const button = el("button", { type: "button", class: "opener", "aria-expanded": String(open), "aria-controls": open ? `detail-${row.index}` : null, "data-host": row.index },
      svg("svg", { class: "chevron", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: "M6 3.5 10.5 8 6 12.5" })), bdi(row.host || "(no name)", "name"));
    return button;
  }

  function drawRow(row, open = view.open.has(row.index)) {
    const cells = Object.entries(COLUMNS).map(([name, column]) => {
      const content = column.cell(row);
      return el("td", { role: "cell", class: `cell cell-${name}${content ? "" : " nothing"}`, "data-title": column.title }, content || "\u2013");
    });
    return el("tr", { role: "row", class: `host${open ? " is-open" : ""}`, id: `host-${row.index}` }, cells);
  }

  const drawDetailRow = (row) =>
    el("tr", { role: "row", class: "detail", id: `detail-${row.index}` }, el("td", { role: "cell", colspan: Object.keys(COLUMNS).length }, drawDetail(row)));

  function drawTable() {
    const first = view.printing ? 0 : view.page * PAGE_SIZE;
    const rows = view.rows.slice(first, first + (view.printing ? PRINT_ROWS : PAGE_SIZE));
    const nodes = document.createDocumentFragment();
    let details = 0;
    for (const row of rows) {
      const telling = row.goal !== "met" && (row.nics.length || row.error);
      const wanted = view.open.has(row.index) || (view.printing && telling && details < PRINT_DETAILS);
      nodes.append(drawRow(row, wanted));
      if (wanted) nodes.append(drawDetailRow(row));
      if (wanted) details += 1;
    }
    byId("rows").replaceChildren(nodes);
    for (const head of byId("head").children) {
      const sorted = head.dataset.column === view.sort;
      if (sorted) head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    byId("sort").value = `${view.sort}${view.down ? "-" : ""}`;
  }

  function toggle(index, open = !view.open.has(index)) {
    if (open === view.open.has(index)) return;
    if (open) view.open.add(index);
    else view.open.delete(index);
    const row = byId(`host-${index}`);
    if (!row) return;
    row.classList.toggle("is-open", open);
    const button = row.querySelector(".opener");
    button.setAttribute("aria-expanded", open);
    if (open) {
      row.after(drawDetailRow(hosts[index]));
      button.setAttribute("aria-controls", `detail-${index}`);
    } else {
      byId(`detail-${index}`).remove();
      button.removeAttribute("aria-controls");
    }
  }

  function drawHead() {
    for (const [name, column] of Object.entries(COLUMNS)) {
      const button = el("button", { type: "button" }, column.title, svg("svg", { class: "arrow", viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: "M8 3v10M4 9l4 4 4-4" })));
      button.addEventListener("click", () => sortBy(name, view.sort === name && !view.down));
      // Buttons are not painted where a header is repeated on paper; the span is.
      byId("head").append(el("th", { scope: "col", role: "columnheader", "data-column": name, class: `cell-${name}` }, button, el("span", { "aria-hidden": "true" }, column.title)));
      byId("sort").append(el("option", { value: name }, `${column.title}, up`), el("option", { value: `${name}-` }, `${column.title}, down`));
    }
  }

  function sortBy(name, down) {
    view.sort = name;
    view.down = down;
    view.page = 0;
    update();
  }

  /* ---------- one host ---------- */

  const block = (title, cls, ...content) => el("section", { class: `block ${cls}` }, el("h4", null, title), ...content);

  function drawNic(nic) {
    const where = [nic.kind, nic.mac, nic.pci].filter(Boolean);
    return el("li", { class: "nic" }, el("strong", { class: "nic-name" }, el("bdi", null, nic.interface || (nic.pci ? `function ${nic.pci}` : nic.mac) || "?")), label(nic.verdict || "no verdict"),
      el("span", { class: "where" }, where.map((part) => el("bdi", null, part))), brief(nic.reasons, nic.reasons.length),
      nic.proven === true && el("span", { class: "muted" }, "proven by measured traffic"), nic.proven === false && el("span", { class: "muted" }, "measured traffic says otherwise"));
  }

  function drawStep(step) {
    return el("li", null, el("strong", null, `${step.role || "?"}: ${step.action || "?"}`), step.reboot && el("span", { class: "tag" }, "needs a reboot"),
      el("p", null, step.why || ""),
      el("p", { class: "where" }, [step.kernel && `kernel ${step.kernel}`, step.version && `version ${step.version}`, (step.packages || []).length && `packages ${step.packages.join(", ")}`].filter(Boolean).map((part) => el("bdi", null, part))));
  }

  const meaning = (item) => report.reasons[item] && el("p", null, report.reasons[item].meaning);

  // What a reason means is told once in a list.
  const repeats = (item, place, items) => items.findIndex((other) => other.reason === item.reason) < place;
  function drawBlocked(item, place, items) {
    return el("li", null, el("p", { class: "subject" }, code(item.reason || "?"), el("bdi", { class: "where" }, item.subject || "")), !repeats(item, place, items) && meaning(item.reason),
      item.remedy && el("p", null, el("b", null, "What you can do: "), item.remedy), item.option && el("p", null, el("b", null, "Option that allows it: "), code(item.option)));
  }

  function drawReason(item) {
    const known = report.reasons[item];
    return [el("dt", null, code(item)), el("dd", null, known ? el("p", null, known.meaning) : null, known && el("p", null, el("b", null, "Remedy: "), known.remedy))];
  }

  function drawDetail(row) {
    // Reasons that a block explains are not explained twice.
    const explained = new Set(row.blocked.map((item) => item.reason));
    const reasons = row.reasons.filter((item) => !explained.has(item));
    const facts = [["Distribution", row.system], ["Kernel", row.kernel], ["Architecture", row.architecture]];
    const blocks = [
      row.error && block({ failed: "Failed", unreachable: "Unreachable", "not run": "Not run" }[row.status] || "Error", "block-error", row.error.reason && el("p", { class: "subject" }, code(row.error.reason)), meaning(row.error.reason), row.error.message && message(row.error.message)),
      row.nics.length > 0 && block("NICs", "block-nics", el("ul", { class: "nics" }, row.nics.map(drawNic))),
      row.blocked.length > 0 && block("Blocked", "block-blocked", el("ul", { class: "blocked" }, row.blocked.map(drawBlocked))),
      row.steps.length > 0 && block(row.blocked.length ? "Steps that are possible anyway" : "Planned steps", "block-steps", el("ol", null, row.steps.map(drawStep))),
      reasons.length > 0 && block("Reasons", "block-reasons", el("dl", { class: "reasons" }, reasons.map(drawReason))),
      row.advice.length > 0 && block("Advice", "block-advice", el("ul", { class: "blocked" }, row.advice.map(drawBlocked))),
      row.unknown.length > 0 && block("Packages not asked for yet", "block-unknown", el("p", null, "The plan may change once the repositories have been asked for: "), el("p", { class: "codes" }, row.unknown.map((item) => code(item)))),
      row.warnings.length > 0 && block("Could not be read", "block-warnings", el("ul", null, row.warnings.map((warning) => el("li", null, warning)))),
    ].filter(Boolean);
    if (!blocks.length || (row.goal === "met" && !reasons.length && blocks.length === 1 && row.nics.length)) blocks.push(el("p", { class: "muted" }, row.goal === "met" ? "Nothing to do: the goal is met." : "Nothing more is known of this host."));
    return el("div", { class: "card", role: "region", "aria-label": shown(`Details of ${row.host}`) },
      el("h3", { class: row.host.length > 40 ? null : "hidden" }, bdi(row.host)),
      el("dl", { class: "facts" }, facts.filter(([, fact]) => fact).map(([term, fact]) => el("div", null, el("dt", null, term), el("dd", null, el("bdi", null, fact))))),
      el("div", { class: "blocks" }, blocks));
  }

  /* ---------- what surrounds the table ---------- */

  function drawFilters() {
    const chips = [];
    for (const facet of Object.values(FACETS)) {
      for (const item of facet.chosen) {
        const chip = el("button", { type: "button", class: "chip", "aria-label": shown(`Remove the filter ${facet.title}: ${item}`) }, el("span", { class: "muted" }, facet.title), el("bdi", null, item), el("span", { "aria-hidden": "true" }, "\u00d7"));
        chip.addEventListener("click", () => { choose(facet, item); (byId("filters").querySelector("button") || byId("search")).focus(); });
        chips.push(chip);
      }
    }
    if (isFiltered()) {
      const all = el("button", { type: "button", class: "link" }, "Show all hosts");
      all.addEventListener("click", () => { clear(); byId("search").focus(); });
      chips.push(all);
    }
    byId("filters").replaceChildren(...chips);
  }

  function drawPages() {
    const last = Math.max(0, Math.ceil(view.rows.length / PAGE_SIZE) - 1);
    const go = (name, title, page) => {
      const off = page < 0 || page > last || page === view.page;
      // aria-disabled keeps the focus where it is at the last page.
      const button = el("button", { type: "button", "data-page": name, "aria-disabled": off ? "true" : null }, title);
      button.addEventListener("click", () => {
        if (off) return;
        view.page = page;
        drawTable();
        drawPages();
        byId("pages").querySelector(`[data-page=${name}]`).focus({ preventScroll: true });
        byId("hosts").scrollIntoView();
      });
      return button;
    };
    byId("pages").hidden = last === 0;
    byId("pages").replaceChildren(go("first", "First", 0), go("previous", "Previous", view.page - 1), el("span", { role: "status" }, `Page ${view.page + 1} of ${last + 1}`), go("next", "Next", view.page + 1), go("last", "Last", last));
  }

  function update() {
    view.rows = hosts.filter((row) => fits(row)).sort(compare);
    view.page = Math.min(view.page, Math.max(0, Math.ceil(view.rows.length / PAGE_SIZE) - 1));
    byId("count").textContent = isFiltered() ? `${view.rows.length.toLocaleString("en")} of ${many(hosts.length, "host")}` : many(hosts.length, "host");
    byId("table").hidden = !view.rows.length;
    byId("none").hidden = view.rows.length > 0;
    byId("none").textContent = hosts.length ? "No host fits. Remove a filter or change the search." : "There are no hosts in this report.";
    updateCharts();
    drawFilters();
    drawTable();
    drawPages();
  }

  /* ---------- keyboard, mouse, theme, paper ---------- */

  byId("search").addEventListener("input", (event) => {
    view.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    view.page = 0;
    update();
  });
  byId("sort").addEventListener("change", (event) => sortBy(event.target.value.replace("-", ""), event.target.value.endsWith("-")));

  byId("rows").addEventListener("click", (event) => {
    const row = event.target.closest("tr.host");
    // Someone who marks text to copy it does not want the row to open.
    if (row && (event.target.closest(".opener") || String(getSelection()) === "")) toggle(Number(row.id.slice(5)));
  });

  function move(from, by) {
    const openers = [...byId("rows").querySelectorAll(".opener")];
    const target = openers[Math.min(openers.length - 1, Math.max(0, openers.indexOf(from) + by))];
    if (target) target.focus();
  }

  function close(target) {
    const row = target.closest("tr.detail, tr.host");
    const here = row ? Number(row.id.split("-")[1]) : null;
    const index = view.open.has(here) ? here : [...view.open].pop();
    if (index === undefined) return;
    toggle(index, false);
    const button = byId(`host-${index}`) && byId(`host-${index}`).querySelector(".opener");
    if (button) button.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const { target, key } = event;
    const search = byId("search");
    if (key === "/" && !target.closest("input, select, textarea")) {
      event.preventDefault();
      search.focus();
      search.select();
    } else if (key === "Escape" && target === search) {
      if (search.value) { search.value = ""; view.words = []; update(); } else search.blur();
      event.preventDefault();
    } else if (key === "Escape") close(target);
    else if (key === "ArrowDown" && target === search) { event.preventDefault(); move(null, 1); }
    else if (target.closest(".opener")) {
      const steps = { ArrowDown: 1, ArrowUp: -1, Home: -PAGE_SIZE, End: PAGE_SIZE };
      if (key === "ArrowUp" && target === byId("rows").querySelector(".opener")) { event.preventDefault(); search.focus(); }
      else if (key in steps) { event.preventDefault(); move(target.closest(".opener"), steps[key]); }
    }
  });

  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const showTheme = () => { byId("theme").textContent = isDark() ? "Light" : "Dark"; byId("theme").setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours"); };
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  system.addEventListener("change", showTheme);

  const folded = matchMedia("(max-width: 900px)");
  byId("breakdown").open = !folded.matches;

  let wasOpen;
  addEventListener("beforeprint", () => {
    wasOpen = byId("breakdown").open;
    byId("breakdown").open = true;
    view.printing = true;
    drawTable();
    // Each reason is explained once on paper, not with every host.
    const codes = [...new Set(view.rows.slice(0, PRINT_ROWS).flatMap((row) => row.reasons))].sort(names.compare);
    byId("glossary").replaceChildren(...codes.map((item) => el("div", null, drawReason(item))));
    byId("glossary").parentNode.hidden = !codes.length;
    const left = view.rows.length - PRINT_ROWS;
    byId("print-note").hidden = left <= 0;
    byId("print-note").textContent = `${many(left, "further host")} ${left === 1 ? "is" : "are"} not printed: filter the hosts, or read report.json.`;
  });
  addEventListener("afterprint", () => {
    byId("breakdown").open = wasOpen;
    view.printing = false;
    byId("print-note").hidden = true;
    drawTable();
  });

  summarise();
  drawCharts();
  // There is nothing to count, filter or search in one host: its details are the page.
  document.querySelector(".charts").hidden = document.querySelector(".tools").hidden = hosts.length < 2;
  if (hosts.length === 1) view.open.add(0);
  drawHead();
  showTheme();
  update();
})();
