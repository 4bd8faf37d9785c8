// Intake: photos that are picked, dropped or pasted.

export class Intake {
  #place;
  #give;

  // give(files): called with what came.
  constructor(place, give) {
    this.#place = place;
    this.#give = give;
    const input = place.querySelector("input");
    input.addEventListener("change", () => {
      give([...input.files]);
      input.value = ""; // so that the same photo can be chosen again
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return; // what looks like a button answers to Enter too
      event.preventDefault();
      input.click();
    });
    this.#takeDropped();
    document.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length) give([...event.clipboardData.files]);
    });
  }

  // Anywhere on the page: a photo that misses the frame would else replace the page.
  #takeDropped() {
    const over = (is) => this.#place.classList.toggle("over", is);
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      over(true);
    });
    document.addEventListener("dragleave", (event) => over(event.relatedTarget !== null));
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      over(false);
      this.#give([...event.dataTransfer.files]);
    });
  }
}
