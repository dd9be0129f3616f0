/* Copyright: (c) 2026, The accelnet.mana authors. SPDX-License-Identifier: GPL-3.0-or-later */
/* What the tests ask of a page. Runs beside it, by WebDriver: the page's own policy would not let it in. */
const all = (selector) => [...document.querySelectorAll(selector)];
const visible = (selector) => all(selector).filter((node) => node.checkVisibility() && !node.closest(".hidden"));
const outline = (node) => node.outerHTML.slice(0, 90);

window.probe = {
  texts: (selector) => all(selector).map((node) => node.textContent),
  visible: (selector) => visible(selector).map(outline),
  clickAll: (selector) => all(selector).forEach((node) => node.click()),
  choose: (facet, value) => all(`.panel-${facet} .key`).find((key) => key.dataset.value === value).click(),
  focused: () => document.activeElement.id || document.activeElement.textContent.trim(),

  /** For every value of every chart: what it counts, and what is left when it is chosen. */
  chooseEach: () =>
    all(".key").map((key) => {
      const counted = key.querySelector(".key-count").textContent;
      key.click();
      const left = document.querySelector("#count").textContent;
      key.click();
      return [key.dataset.value, `${counted} of 100 hosts`, left];
    }),

  /** The names on all pages, by pressing Next until nothing changes. */
  leafThrough: () => {
    const names = new Set();
    document.querySelector("[data-page=next]").focus();
    for (let before = -1; before !== names.size; document.activeElement.click()) {
      before = names.size;
      for (const node of all("#rows .name")) names.add(node.textContent);
    }
    return names.size;
  },

  /** Milliseconds of one change after another, layout included. */
  times: () => {
    const took = (change) => {
      const begin = performance.now();
      change();
      document.body.getBoundingClientRect();
      return performance.now() - begin;
    };
    const search = document.querySelector("#search");
    const type = (words) =>
      took(() => {
        search.value = words;
        search.dispatchEvent(new Event("input"));
      });
    return [
      ...["w", "web1", "vf_ azure", ""].map(type),
      ...all("th button, .panel-verdict .key").map((button) => took(() => button.click())),
    ];
  },

  tooWide: () => visible("main *").filter((node) => node.getBoundingClientRect().right > innerWidth + 1).map(outline),
  overflowing: () => visible("#rows .host td").filter((cell) => cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.textContent),

  /** [how many texts, those with less than 4.5 to their ground] */
  contrast: () => {
    const parse = (text) => {
      const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
      return { rgb: [r, g, b], a };
    };
    const light = (color) =>
      color.rgb
        .map((part) => part / 255)
        .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
        .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
    const ground = (node) => {
      const color = node ? parse(getComputedStyle(node).backgroundColor) : { rgb: [255, 255, 255], a: 1 };
      return color.a === 1 ? color : ground(node.parentElement);
    };
    const found = [];
    let count = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.textContent.trim();
      const node = walker.currentNode.parentElement;
      if (!text || node.closest("script, style, noscript, title, .faded") || !node.checkVisibility()) continue;
      count += 1;
      const svg = node.closest("svg");
      const segment = node.closest(".segment:not(.empty)");
      const back = segment ? parse(getComputedStyle(segment.querySelector("rect")).fill) : ground(svg || node);
      const front = parse(getComputedStyle(node)[svg ? "fill" : "color"]);
      const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
      const ratio = (high + 0.05) / (low + 0.05);
      if (ratio < 4.5) found.push(`${text.slice(0, 30)}: ${ratio.toFixed(2)} in ${outline(node)}`);
    }
    return [count, [...new Set(found)]];
  },
};
