// Stages: where the time of an answer went.

import { element } from "./element.js";
import { milliseconds } from "./numbers.js";

// timing: `timing_ms` of an answer; tripMs: from the request to the answer, as the browser saw it; explainMs: of POST
// /explain, or null.
export function stagesView({ timing, batch, tripMs, explainMs }) {
  const { decode, queue, infer, total } = timing;
  const rows = [
    ["decode", decode, "from the file to pixels"],
    ["queue", queue, "waiting for the engine"],
    ["infer", infer, batch ? `the network, in a batch of ${batch}` : "none: the answer was remembered"],
    ["total", total, "from admission to the answer"],
    ["round trip", tripMs, "as this browser saw it"],
  ];
  if (explainMs !== null) rows.push(["explain", explainMs, "map and excitations, in a request of its own"]);
  const most = Math.max(...rows.map(([, ms]) => ms)) || 1;
  return element(
    "table",
    { className: "stages" },
    element("caption", { textContent: "Time of each stage" }),
    element("tbody", {}, ...rows.map((row) => rowView(row, most))),
  );
}

function rowView([name, ms, meaning], most) {
  const fill = element("span", { className: "fill" });
  fill.style.width = `${(100 * ms) / most}%`;
  const bar = element("span", { className: "bar", attributes: { "aria-hidden": "true" } }, fill);
  return element(
    "tr",
    {},
    element("th", { scope: "row", textContent: name }),
    element("td", { className: "number", textContent: milliseconds(ms) }),
    element("td", {}, bar, element("span", { className: "meaning", textContent: meaning })),
  );
}
