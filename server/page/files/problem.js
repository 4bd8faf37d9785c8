// Problem: what went wrong with a request, and its cure.

export class Problem extends Error {
  // status and code: of the problem document, 0 and "" if there was no answer.
  constructor(title, detail, { status = 0, code = "", retryAfterS = null } = {}) {
    super(detail);
    Object.assign(this, { title, status, code, retryAfterS });
  }

  static async of(response) {
    const told = await response.json().catch(() => ({}));
    const title = `${response.status} ${told.title || response.statusText}`.trim();
    const detail = told.detail || "The answer does not come from Sesame: look at the proxy in front of it.";
    const wait = response.headers.get("Retry-After");
    const retryAfterS = wait === null ? null : Number(wait);
    return new Problem(title, detail, { status: response.status, code: told.code || "", retryAfterS });
  }

  static unreachable() {
    const cure = "Look whether it runs and whether you are online, then try again.";
    return new Problem("No answer", `The server cannot be reached. ${cure}`);
  }

  static unreadable(name) {
    return new Problem("Not read", `${name} cannot be read: choose a file, not a folder, that is still there.`);
  }
}
