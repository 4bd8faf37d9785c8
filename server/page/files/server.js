// Server: the calls of the REST API that the page makes.

import { Problem } from "./problem.js";

export class Server {
  // Whether it explains its predictions. Unknown until the first try.
  explains = true;

  // The API key, where the server wants one. It is forgotten with the page.
  key = "";

  async models() {
    return answered(new URL("models", document.baseURI), { headers: this.#credentials });
  }

  async classify(file, choice, signal) {
    return this.#send("classify", file, choice, signal);
  }

  // The explanation of one class, with all excitations.
  async explain(file, choice, classIndex, signal) {
    try {
      return await this.#send("explain", file, { ...choice, class: classIndex, gates: "full" }, signal);
    } catch (problem) {
      if (problem.status === 404 && problem.code !== "unknown_model") this.explains = false;
      throw problem;
    }
  }

  get #credentials() {
    return this.key ? { Authorization: `Bearer ${this.key}` } : {};
  }

  async #send(path, file, query, signal) {
    await readable(file);
    return answered(address(path, query), {
      method: "POST",
      body: file,
      headers: { "Content-Type": "application/octet-stream", ...this.#credentials }, // the server looks at the bytes
      signal,
    });
  }
}

// The whole address of a request; what is empty is left out.
export function address(path, query) {
  const url = new URL(path, document.baseURI);
  for (const [name, value] of Object.entries(query)) if (value !== "") url.searchParams.set(name, value);
  return url;
}

async function readable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw Problem.unreadable(file.name);
  }
}

async function answered(url, options) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    throw error.name === "AbortError" ? error : Problem.unreachable();
  }
  if (!response.ok) throw await Problem.of(response);
  return response.json();
}
