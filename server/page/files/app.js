// The page: connects its parts.

import { Card } from "./card.js";
import { Choice } from "./choice.js";
import { Excitations } from "./excitations.js";
import { Intake } from "./intake.js";
import { problemView } from "./problem_view.js";
import { Server } from "./server.js";
import { Turns } from "./turns.js";

const PHOTOS_AT_ONCE = 3; // of one page: a browser opens six connections to a server

const find = (id) => document.getElementById(id);
const cards = [];
let photos = 0;

const excitations = new Excitations(find("excitations"));
const page = {
  server: new Server(),
  turns: new Turns(PHOTOS_AT_ONCE),
  choice: new Choice(find("choice"), () => cards.forEach((card) => card.ask())),
  told(news) {
    find("news").textContent = news;
    excitations.show(cards);
  },
  answered: (answer) => page.choice.describe(answer),
  removed(card) {
    cards.splice(cards.indexOf(card), 1);
    card.leave();
    card.view.remove();
    find("answers").hidden = cards.length === 0;
    excitations.show(cards);
    find("files").focus();
  },
};

function add(files) {
  if (!files.length) find("news").textContent = "There was no file in it.";
  for (const file of files) {
    const card = new Card(file, `${(photos += 1)}. ${file.name}`, page);
    cards.push(card);
    find("cards").append(card.view);
    card.ask();
  }
  find("answers").hidden = cards.length === 0;
}

async function readModels() {
  find("trouble").replaceChildren();
  try {
    page.choice.show(await page.server.models());
    find("key").hidden = true;
  } catch (problem) {
    if (problem.status === 401) find("key").hidden = false;
    find("trouble").replaceChildren(problemView(problem, readModels));
  }
}

find("key").addEventListener("submit", (event) => {
  event.preventDefault();
  page.server.key = find("key").querySelector("input").value.trim();
  readModels();
  cards.forEach((card) => card.ask());
});
find("clear").addEventListener("click", () => [...cards].forEach((card) => page.removed(card)));
new Intake(find("intake"), add);
readModels();
