// ProblemView: what the page says of a problem, with a button to try again.

import { element } from "./element.js";

export function problemView(problem, again) {
  const wait = problem.retryAfterS ? ` The server asks to wait ${problem.retryAfterS} s.` : "";
  const retry = element("button", { type: "button", textContent: "Try again" });
  retry.addEventListener("click", again);
  return element(
    "div",
    { className: "problem", attributes: { role: "alert" } },
    element("strong", { textContent: problem.title }),
    element("p", { textContent: `${problem.message}${wait}` }),
    retry,
  );
}
