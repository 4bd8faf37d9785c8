// ExcitationTable: the first chart as numbers, for those who do not see it.

import { element } from "./element.js";

const HEADS = ["block", "channels", "photo", "mean", "deviation", "least", "25 %", "median", "75 %", "largest"];

// series: for each photo its blocks; cards: those photos.
export function numbersView(series, cards) {
  const rows = series[0].flatMap((_, index) => series.map((blocks, which) => row(blocks[index], cards[which].name)));
  const heads = HEADS.map((text) => element("th", { scope: "col", textContent: text }));
  const table = element(
    "table",
    {},
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows),
  );
  const attributes = { role: "region", "aria-label": "Excitations as numbers" };
  const scroll = element("div", { className: "scroll", tabIndex: 0, attributes }, table);
  return element("details", {}, element("summary", { textContent: "As numbers" }), scroll);
}

function row({ block, channels, mean, deviation, quantiles }, name) {
  const cells = [channels, name, ...[mean, deviation, ...quantiles].map((value) => value.toFixed(3))];
  const head = element("th", { scope: "row", textContent: block });
  return element("tr", {}, head, ...cells.map((text) => element("td", { textContent: text })));
}
