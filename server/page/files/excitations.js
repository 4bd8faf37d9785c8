// Excitations: the section that shows those of one photo, or of two side by side.

import { blocksChart, gatesChart } from "./chart.js";
import { element } from "./element.js";
import { numbersView } from "./excitation_table.js";

const SERIES = ["series-0", "series-1"];

export class Excitations {
  #place;
  #selects = SERIES.map((name) => element("select", { className: name }));
  #block = element("select");
  #charts = element("div");
  #cards = [];
  #byHand = [null, null]; // names of photos that the user chose; "" is none

  constructor(place) {
    this.#place = place;
    const [first, second] = this.#selects;
    place.append(
      element(
        "div",
        { className: "controls" },
        swatch("Photo", first),
        swatch("Beside it", second),
        element("label", {}, "Block ", this.#block),
      ),
      this.#charts,
    );
    this.#selects.forEach((select, which) =>
      select.addEventListener("change", () => {
        this.#byHand[which] = select.value;
        this.#showChosen();
      }),
    );
    this.#block.addEventListener("change", () => this.#draw());
  }

  // cards: all that there are. What was chosen stays chosen; else the first two are side by side.
  show(cards) {
    this.#cards = cards.filter(({ excitations }) => excitations !== null);
    this.#place.hidden = this.#cards.length === 0;
    if (this.#place.hidden) return;
    const names = this.#cards.map(({ name }) => name);
    const [first, second] = this.#selects;
    first.replaceChildren(...names.map(option));
    second.replaceChildren(element("option", { value: "", textContent: "no other photo" }), ...names.map(option));
    first.value = names.includes(this.#byHand[0]) ? this.#byHand[0] : names[0];
    const other = names.find((name) => name !== first.value) ?? "";
    second.value = ["", ...names].includes(this.#byHand[1]) ? this.#byHand[1] : other;
    this.#showChosen();
  }

  get #chosen() {
    const named = this.#selects.map(({ value }) => this.#cards.find(({ name }) => name === value));
    return named.filter((card) => card !== undefined);
  }

  #showChosen() {
    const [{ excitations }] = this.#chosen;
    const before = this.#block.value;
    this.#block.replaceChildren(...excitations.map(({ block }) => option(block)));
    const kept = excitations.some(({ block }) => block === before);
    if (excitations.length) this.#block.value = kept ? before : excitations.at(-1).block;
    this.#draw();
  }

  #draw() {
    const [{ excitations: blocks }, other] = this.#chosen;
    if (blocks.length === 0) return this.#charts.replaceChildren("This network has no squeeze-and-excitation blocks.");
    const comparable = other && sameBlocks(blocks, other.excitations);
    const series = comparable ? [blocks, other.excitations] : [blocks];
    const index = blocks.findIndex(({ block }) => block === this.#block.value);
    const { block, channels } = blocks[index];
    const all = blocksChart(series, index, (chosen) => this.#choose(blocks[chosen].block));
    const one = gatesChart(series.map((each) => each[index]));
    return this.#charts.replaceChildren(
      ...(other && !comparable ? [note(`${other.name} was answered by another network.`)] : []),
      element(
        "div",
        { className: "charts" },
        figure("Every block: least, middle half, median and largest", all),
        figure(`${block}: its ${channels} channels, the first photo's strongest first`, one),
      ),
      ...this.#strongest(series, index),
      numbersView(series, this.#chosen),
    );
  }

  #choose(block) {
    this.#block.value = block;
    this.#draw();
  }

  #strongest(series, index) {
    return series.map((blocks, which) => {
      const channels = blocks[index].strongest.map(({ channel, gate }) => `${channel} (${gate.toFixed(2)})`).join(", ");
      return element("p", { textContent: `Strongest channels for ${this.#chosen[which].name}: ${channels}` });
    });
  }
}

function swatch(text, select) {
  const colour = element("span", { className: `swatch ${select.className}`, attributes: { "aria-hidden": "true" } });
  return element("label", {}, colour, `${text} `, select);
}

function note(text) {
  return element("p", { className: "note", textContent: text });
}

function option(value) {
  return element("option", { value, textContent: value });
}

function sameBlocks(blocks, others) {
  const shape = (each) => JSON.stringify(each.map(({ block, channels }) => [block, channels]));
  return shape(blocks) === shape(others);
}

// A chart may be wider than a phone: then it is scrolled.
function figure(caption, chart) {
  return element("figure", {}, element("figcaption", { textContent: caption }), scrolled(caption, chart));
}

function scrolled(label, wide) {
  const attributes = { role: "region", "aria-label": label };
  return element("div", { className: "scroll", tabIndex: 0, attributes }, wide);
}
