// Turns: at most so many photos are asked for at once; the others wait.

export class Turns {
  #free;
  #waiting = [];

  constructor(most) {
    this.#free = most;
  }

  async take(work) {
    if (this.#free === 0) await new Promise((resolve) => this.#waiting.push(resolve));
    else this.#free -= 1;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
