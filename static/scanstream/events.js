/** Server-sent events, read from text as it comes (WHATWG HTML, section 9.2.6). Pure. */

export class EventReader {
  #held = "";
  #type = "";
  /** @type {string[]} */
  #data = [];

  /**
   * Takes a piece of the stream.
   * @param {string} text
   * @returns {{ type: string, data: string }[]} the events that are complete with it; comments are none
   */
  take(text) {
    const lines = (this.#held + text).split(/\r\n|\n|\r(?!$)/); // a \r at the very end may be half of a \r\n
    this.#held = lines.pop() ?? "";
    return lines.flatMap((line) => this.#line(line));
  }

  /** @param {string} line */
  #line(line) {
    if (line === "") return this.#complete();
    const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (name === "event") this.#type = value;
    if (name === "data") this.#data.push(value);
    return [];
  }

  #complete() {
    const event = { type: this.#type || "message", data: this.#data.join("\n") };
    const empty = !this.#data.length;
    [this.#type, this.#data] = ["", []];
    return empty ? [] : [event];
  }
}
