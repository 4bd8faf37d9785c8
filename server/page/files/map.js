// ActivationMap: a photo, and over it what each place says for or against a class.

import { element } from "./element.js";
import { signed } from "./numbers.js";

const FOR = [255, 112, 0];
const AGAINST = [40, 90, 255];
const PIXELS_PER_PLACE = 32;

export class ActivationMap {
  view;
  #canvas = element("canvas", { hidden: true, attributes: { role: "img" } });
  #slider = element("input", { type: "range", min: 0, max: 100, value: 65 });
  #controls;
  #caption = element("p", { className: "caption" });

  // source: the address of the photo, which the browser shows upright as the server sees it.
  constructor(source, name) {
    const photo = element("img", { src: source, alt: name });
    photo.addEventListener("error", () => photo.remove()); // no photo: the server says so
    this.#controls = element("div", { hidden: true }, element("label", {}, "Opacity of the map ", this.#slider));
    this.#slider.addEventListener("input", () => this.#setOpacity());
    this.view = element(
      "div",
      { className: "map" },
      element("div", { className: "photo" }, photo, this.#canvas),
      this.#controls,
      this.#caption,
    );
  }

  // explanation: an answer of POST /explain.
  show({ map, map_missing: missing, class: explained }) {
    this.hide(map ? "" : missing);
    if (!map) return;
    place(this.#canvas, map.region);
    draw(this.#canvas, map);
    const { row, column, value } = strongest(map.values);
    const where = `row ${row} of ${map.rows}, column ${column} of ${map.columns} (${signed(value)})`;
    const text = `${explained.label}: orange speaks for it, blue against it; most in ${where}`;
    this.#canvas.setAttribute("aria-label", `Map of ${text}`);
    this.#caption.textContent = text;
    this.#canvas.hidden = this.#controls.hidden = false;
    this.#setOpacity();
  }

  hide(why = "") {
    this.#canvas.hidden = this.#controls.hidden = true;
    this.#caption.textContent = why;
  }

  #setOpacity() {
    this.#canvas.style.opacity = this.#slider.value / 100;
  }
}

// Over the region, which is given as shares of the photo.
function place(canvas, { left, top, width, height }) {
  const sides = { left, top, width, height };
  for (const [side, share] of Object.entries(sides)) canvas.style[side] = `${share * 100}%`;
}

// One pixel for each place, then enlarged: the browser blends between places.
function draw(canvas, { rows, columns, values }) {
  const small = element("canvas", { width: columns, height: rows });
  const most = Math.max(...values.flat().map(Math.abs)) || 1;
  const pixels = values.flat().flatMap((value) => [...(value < 0 ? AGAINST : FOR), (255 * Math.abs(value)) / most]);
  small.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), columns, rows), 0, 0);
  Object.assign(canvas, { width: columns * PIXELS_PER_PLACE, height: rows * PIXELS_PER_PLACE });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(small, 0, 0, canvas.width, canvas.height);
}

// Row and column from 1.
function strongest(values) {
  const places = values.flatMap((cells, row) =>
    cells.map((value, column) => ({ row: row + 1, column: column + 1, value })),
  );
  return places.reduce((best, each) => (each.value > best.value ? each : best));
}
