// Bars: the most probable classes as bars, of which one is chosen.

import { element } from "./element.js";
import { percent } from "./numbers.js";

let made = 0;

export class Bars {
  view;
  #chosen;
  #rows = [];

  // chosen(prediction): called when another class is to be explained.
  constructor(predictions, chosen) {
    this.#chosen = chosen;
    const name = `class-${(made += 1)}`;
    this.#rows = predictions.map((prediction, rank) => this.#row(prediction, name, rank === 0));
    this.view = element(
      "fieldset",
      { className: "bars" },
      element("legend", { textContent: "Most probable: choose one to see where it is" }),
      ...this.#rows.map(({ label }) => label),
    );
  }

  #row(prediction, name, checked) {
    const radio = element("input", { type: "radio", name, value: prediction.index, checked });
    radio.addEventListener("change", () => this.#chosen(prediction));
    const fill = element("span", { className: "fill" });
    fill.style.width = percent(prediction.probability).replace(" ", "");
    const label = element(
      "label",
      { title: prediction.id },
      radio,
      element("span", { className: "name", textContent: prediction.label }),
      element("span", { className: "share", textContent: percent(prediction.probability) }),
      element("span", { className: "bar", attributes: { "aria-hidden": "true" } }, fill),
    );
    return { label, radio };
  }

  // Where nothing can be explained there is nothing to choose.
  onlyShow() {
    this.view.querySelector("legend").textContent = "Most probable";
    for (const { radio } of this.#rows) radio.hidden = radio.disabled = true;
  }
}
