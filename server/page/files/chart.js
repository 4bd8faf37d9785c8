// Chart: excitations as SVG. Each photo has a colour and a place of its own: series 0 and 1.

import { svg } from "./element.js";

const HEIGHT = 220;
const TOP = 8;
const BOTTOM = 70; // names of blocks, slanted
const LEFT = 34;
const SLOT = 44;
const BOX = 12;
const GATES_WIDTH = 640;

// series: for each photo its blocks, in the order of the network. chosen: index of a block; choose(index).
export function blocksChart(series, chosen, choose) {
  const blocks = series[0];
  const width = LEFT + SLOT * blocks.length;
  const chart = frame(width, HEIGHT + BOTTOM, summary(series));
  chart.append(...scale(width));
  blocks.forEach((block, index) => {
    const left = LEFT + SLOT * index;
    const slot = svg("g", { class: index === chosen ? "slot chosen" : "slot" });
    slot.append(svg("rect", { class: "ground", x: left, y: 0, width: SLOT, height: HEIGHT + BOTTOM }));
    series.forEach((each, which) => slot.append(...box(each[index], which, left + place(which, series.length))));
    slot.append(slanted(block.block, left + SLOT / 2, HEIGHT + 14));
    slot.addEventListener("click", () => choose(index));
    chart.append(slot);
  });
  return chart;
}

// The gates of one block. The channels are in the order of the first photo's gates: a line for it, dots for the second.
export function gatesChart(blocks) {
  const [{ block, channels, gates }, other] = blocks;
  const chart = frame(GATES_WIDTH, HEIGHT + 30, `Excitation of each of the ${channels} channels of ${block}`);
  const order = gates.map((_, channel) => channel).sort((one, two) => gates[two] - gates[one]);
  const x = (rank) => LEFT + ((GATES_WIDTH - LEFT - 8) * rank) / Math.max(1, channels - 1);
  const points = (all) => order.map((channel, rank) => `${x(rank).toFixed(1)},${y(all[channel]).toFixed(1)}`);
  chart.append(...scale(GATES_WIDTH), svg("polyline", { class: "line series-0", points: points(gates).join(" ") }));
  if (other) {
    const d = points(other.gates).map((at) => `M${at}h0`).join("");
    chart.append(svg("path", { class: "dots series-1", d }));
  }
  chart.append(svg("text", { x: LEFT, y: HEIGHT + 20 }, `${channels} channels`));
  return chart;
}

function slanted(text, x, y) {
  return svg("text", { x, y, transform: `rotate(-45 ${x} ${y})`, "text-anchor": "end" }, text);
}

function frame(width, height, label) {
  const viewBox = `0 0 ${width} ${height}`;
  return svg("svg", { class: "chart", width, height, viewBox, role: "img", "aria-label": label });
}

function y(gate) {
  return TOP + (HEIGHT - TOP) * (1 - gate);
}

function scale(width) {
  return [0, 0.25, 0.5, 0.75, 1].flatMap((gate) => [
    svg("line", { class: "rule", x1: LEFT, x2: width, y1: y(gate), y2: y(gate) }),
    svg("text", { x: LEFT - 4, y: y(gate) + 4, "text-anchor": "end" }, String(gate)),
  ]);
}

function place(which, count) {
  return count === 1 ? SLOT / 2 : SLOT * (which === 0 ? 0.32 : 0.68);
}

// A line from the least to the largest gate, a box for the middle half, a mark for the median.
function box({ quantiles: [least, low, median, high, most] }, which, x) {
  const [x1, x2] = [x - BOX / 2, x + BOX / 2];
  const height = Math.max(1, y(low) - y(high));
  return [
    svg("line", { class: `whisker series-${which}`, x1: x, x2: x, y1: y(most), y2: y(least) }),
    svg("rect", { class: `box series-${which}`, x: x1, y: y(high), width: BOX, height }),
    svg("line", { class: "median", x1, x2, y1: y(median), y2: y(median) }),
  ];
}

function summary(series) {
  const [first] = series;
  const ranges = series.map((blocks) => {
    const medians = blocks.map(({ quantiles }) => quantiles[2]);
    return `medians from ${Math.min(...medians).toFixed(2)} to ${Math.max(...medians).toFixed(2)}`;
  });
  const blocks = `${first.length} blocks, ${first[0].block} to ${first.at(-1).block}`;
  return `Excitations of ${blocks}: ${ranges.join("; beside it ")}`;
}
