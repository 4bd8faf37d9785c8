// Choice: the model and the version that are asked.

import { element } from "./element.js";

export class Choice {
  #place;
  #models = [];

  // changed(): called when another model or version was chosen.
  constructor(place, changed) {
    this.#place = place;
    this.#model.addEventListener("change", () => {
      this.#showVersions();
      changed();
    });
    this.#version.addEventListener("change", changed);
  }

  get query() {
    return { model: this.#model.value, version: this.#version.value };
  }

  // list: the answer of GET /models.
  show({ models, aliases }) {
    this.#models = models;
    const names = [...new Set(models.map(({ model }) => model))];
    this.#model.replaceChildren(
      option("", "the server's default"),
      ...names.map((name) => option(name, this.#ready(name).length ? name : `${name} (not ready)`)),
      ...Object.entries(aliases).map(([name, target]) => option(name, `${name} → ${target.model} ${target.version}`)),
    );
    this.#showVersions();
  }

  #showVersions() {
    const ready = this.#ready(this.#model.value);
    this.#version.replaceChildren(
      option("", "the newest that is ready"),
      ...ready.map(({ version }) => option(version, version)),
    );
    this.#version.disabled = ready.length === 0;
  }

  // What answered, of the two names in an answer.
  describe({ model, version }) {
    const found = this.#models.find((each) => each.model === model && each.version === version);
    const facts = this.#place.querySelector("#facts");
    if (!found || !found.engine) return facts.replaceChildren(`${model} ${version}`);
    const { architecture, parameters, labels, input, engine } = found;
    const network = `${architecture}, ${(parameters / 1e6).toFixed(1)} million parameters, ${labels.classes} classes`;
    const photos = `photos are brought to ${input.width} × ${input.height} pixels`;
    const computed = `computed by ${engine.name} in ${engine.precision}`;
    return facts.replaceChildren(`${model} ${version}: ${network}; ${photos}; ${computed}.`);
  }

  #ready(name) {
    return this.#models.filter(({ model, state }) => model === name && state === "READY");
  }

  get #model() {
    return this.#place.querySelector("#model");
  }

  get #version() {
    return this.#place.querySelector("#version");
  }
}

function option(value, text) {
  return element("option", { value, textContent: text });
}
