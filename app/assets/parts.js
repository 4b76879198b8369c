// Parts of an answer while they fill: a cell per position. All texts are set by textContent.

const COLOURS = 8; // accents in page.css

function make(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function accented(node, colour) {
  node.style.setProperty("--accent", `var(--pd-accent-${colour % COLOURS})`);
  return node;
}

// A part's text may begin with the space behind the part before.
function unspaced(text) {
  return text.replace(/^ /, "");
}

class Part {
  // given: {topic, length, start, stop, given: [[position, text], ...]} as in page_frames.py
  constructor(given, colour) {
    this.node = accented(make("section", "pd-part"), colour);
    if (given.topic) this.node.append(make("h4", "", given.topic));
    this.text = make("p", "pd-text");
    this.text.dir = "auto";
    this.node.append(this.text);
    this.start = given.start;
    this.cells = new Map();
    for (let position = given.start; position < given.stop; position++) {
      const cell = make("span", "pd-blank");
      this.cells.set(position, cell);
      this.text.append(cell);
    }
    for (const [position, text] of given.given) this.write(position, text, "given", "pd-given");
    this.close_if_full();
  }

  write(position, text, title, name = "pd-word") {
    const cell = this.cells.get(position);
    if (!cell) return;
    cell.className = text === "" ? "pd-pad" : name;
    cell.textContent = position === this.start ? unspaced(text) : text;
    cell.title = title;
  }

  blank(position) {
    const cell = this.cells.get(position);
    if (!cell) return;
    cell.className = "pd-blank";
    cell.textContent = "";
    cell.removeAttribute("title");
  }

  close_if_full() {
    const full = [...this.cells.values()].every((cell) => cell.className !== "pd-blank");
    this.node.classList.toggle("pd-closed", full);
  }

  // A character in several tokens reads right in the whole text only.
  close(text) {
    if (this.text.textContent !== unspaced(text)) this.text.textContent = unspaced(text);
    for (const cell of this.cells.values()) if (cell.className === "pd-blank") cell.className = "pd-pad";
    this.node.classList.add("pd-closed");
  }
}
