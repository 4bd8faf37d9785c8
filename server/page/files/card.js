// Card: one photo, and all that the server says of it.

import { Bars } from "./bars.js";
import { element } from "./element.js";
import { ActivationMap } from "./map.js";
import { percent } from "./numbers.js";
import { problemView } from "./problem_view.js";
import { snippetsView } from "./snippets.js";
import { stagesView } from "./stages.js";

const SWITCHED_OFF = "Predictions only: this server does not explain them (it runs with --no-explain).";

export class Card {
  view;
  name;
  excitations = null;
  #file;
  #page;
  #map;
  #answers = element("div", { className: "answers" });
  #note = element("p", { className: "note", hidden: true });
  #problem = element("div");
  #stages = element("div");
  #snippets = element("details", {}, element("summary", { textContent: "The same request as curl, Python and gRPC" }));
  #bars = null;
  #answer = null;
  #class = null;
  #explanations = new Map(); // by index of the class
  #asking = new AbortController();
  #source;

  // page: its server, turns and choice; answered(answer): which model it was; told(news): something has changed;
  // removed(card): it is to go.
  constructor(file, name, page) {
    Object.assign(this, { name });
    this.#file = file;
    this.#page = page;
    this.#source = URL.createObjectURL(file);
    this.#map = new ActivationMap(this.#source, name);
    this.#snippets.addEventListener("toggle", () => this.#showSnippets());
    this.view = element(
      "li",
      { className: "card" },
      element("div", { className: "title" }, element("h3", { textContent: name }), this.#removeButton()),
      this.#problem,
      element("div", { className: "parts" }, this.#map.view, element("div", {}, this.#answers, this.#stages)),
      this.#snippets,
    );
    this.#state = "waiting";
  }

  // Classify, then explain the most probable class. Called again when the model changes.
  async ask() {
    this.#forget();
    this.#state = "waiting";
    const again = () => this.ask();
    await this.#page.turns.take(() => this.#try((signal) => this.#classify(signal), again));
  }

  async #classify(signal) {
    this.#state = "classifying";
    const began = performance.now();
    const answer = await this.#page.server.classify(this.#file, this.#page.choice.query, signal);
    this.#showAnswer({ ...answer, tripMs: performance.now() - began });
    await this.#explain(answer.predictions[0], signal);
  }

  leave() {
    this.#asking.abort();
    URL.revokeObjectURL(this.#source);
  }

  #removeButton() {
    const options = { type: "button", textContent: "Remove", attributes: { "aria-label": `Remove ${this.name}` } };
    const button = element("button", options);
    button.addEventListener("click", () => this.#page.removed(this));
    return button;
  }

  async #choose(prediction) {
    this.#asking.abort();
    const again = () => this.#choose(prediction);
    await this.#try((signal) => this.#explain(prediction, signal), again);
  }

  async #explain(prediction, signal) {
    if (!this.#page.server.explains) return this.#onlyPredictions(SWITCHED_OFF);
    this.#class = prediction.index;
    this.#state = "explaining";
    try {
      const known = this.#explanations.get(prediction.index);
      const explanation = known || (await this.#page.server.explain(this.#file, this.#asked, prediction.index, signal));
      this.#explanations.set(prediction.index, explanation);
      this.#showExplanation(explanation);
    } catch (problem) {
      if (!this.#page.server.explains) this.#onlyPredictions(SWITCHED_OFF);
      else if (problem.code === "not_explainable") this.#onlyPredictions(`Predictions only: ${problem.message}`);
      else throw problem;
    }
  }

  // The model that classified: another one may have become the newest since.
  get #asked() {
    const { model, version } = this.#answer;
    return { model, version };
  }

  async #try(work, again) {
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    this.#problem.replaceChildren();
    try {
      await work(signal);
    } catch (problem) {
      if (signal.aborted) return;
      this.#problem.replaceChildren(problemView(problem, again));
      this.#state = "failed";
    }
  }

  #forget() {
    this.#asking.abort();
    this.#explanations.clear();
    this.#answer = this.#class = this.#bars = this.excitations = null;
    this.#note.hidden = true;
    this.#snippets.open = false;
    this.#map.hide();
    for (const part of [this.#answers, this.#stages, this.#problem]) part.replaceChildren();
  }

  #showAnswer(answer) {
    this.#answer = answer;
    this.#bars = new Bars(answer.predictions, (prediction) => this.#choose(prediction));
    const group = answer.group ? `${answer.group.name} (${answer.group.votes} of ${answer.group.of} classes)` : "";
    this.#answers.replaceChildren(this.#bars.view, element("p", { textContent: group, hidden: !group }), this.#note);
    this.#showStages(null);
    this.#showSnippets();
    const [best] = answer.predictions;
    this.#page.answered(answer);
    this.#page.told(`${this.name}: ${best.label}, ${percent(best.probability)}`);
  }

  #showExplanation(explanation) {
    this.#map.show(explanation);
    this.excitations = explanation.excitations;
    this.#showStages(explanation.explain_ms);
    this.#showSnippets();
    this.#state = "explained";
    this.#page.told(`${this.name}: the map shows ${explanation.class.label}`);
  }

  #onlyPredictions(why) {
    this.#class = null;
    this.#bars.onlyShow();
    this.#note.textContent = why;
    this.#note.hidden = false;
    this.#showSnippets();
    this.#state = "classified";
  }

  #showStages(explainMs) {
    const { timing_ms: timing, batch, tripMs } = this.#answer;
    this.#stages.replaceChildren(stagesView({ timing, batch, tripMs, explainMs }));
  }

  #showSnippets() {
    this.#snippets.hidden = this.#answer === null;
    if (!this.#snippets.open || this.#answer === null) return;
    const query = this.#class === null ? this.#asked : { ...this.#asked, class: this.#class };
    this.#snippets.replaceChildren(this.#snippets.firstChild, snippetsView(this.#file.name, query));
  }

  set #state(state) {
    this.view.dataset.state = state;
    this.view.setAttribute("aria-busy", ["waiting", "classifying", "explaining"].includes(state));
  }
}
