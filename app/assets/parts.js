// Parts of an answer while they fill: a cell per position. All texts are set as text.

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

// Texts of neighbours, null for a blank, without the space and the empty lines at both ends.
function without_ends(texts) {
  const trimmed = [...texts];
  for (const place of trimmed.keys()) {
    if (trimmed[place] === null) break;
    if ((trimmed[place] = trimmed[place].trimStart())) break;
  }
  for (let place = trimmed.length - 1; place >= 0 && trimmed[place] !== null; place--) {
    if ((trimmed[place] = trimmed[place].trimEnd())) break;
  }
  return trimmed;
}

class Cell {
  constructor() {
    this.node = make("span");
    this.set(null, "pd-blank");
  }

  // text: null for a blank, "" for a pad
  set(text, name, title = "") {
    this.text = text;
    this.node.className = name;
    this.node.title = title;
  }

  show(pieces) {
    const key = JSON.stringify(pieces);
    if (key !== this.shown) putPieces(this.node, pieces);
    this.shown = key;
  }
}

// Show what has changed in neighbouring cells; how one looks depends on the others.
function settle(cells) {
  const pieces = boldPieces(without_ends(cells.map((cell) => cell.text)));
  cells.forEach((cell, place) => cell.show(pieces[place]));
}

class Part {
  // given: {topic, length, start, stop, given: [[position, text], ...]} as in page_frames.py
  constructor(given, colour) {
    this.node = accented(make("section", "pd-part"), colour);
    if (given.topic) this.node.append(make("h4", "", given.topic));
    this.text = make("p", "pd-text");
    this.text.dir = "auto";
    this.node.append(this.text);
    this.cells = new Map();
    for (let position = given.start; position < given.stop; position++) {
      const cell = new Cell();
      this.cells.set(position, cell);
      this.text.append(cell.node);
    }
    for (const [position, text] of given.given) this.write(position, text, "given", "pd-given");
    this.settle();
  }

  write(position, text, title, name = "pd-word") {
    this.cells.get(position)?.set(text, text === "" ? "pd-pad" : name, title);
  }

  blank(position) {
    this.cells.get(position)?.set(null, "pd-blank");
  }

  settle() {
    const cells = [...this.cells.values()];
    settle(cells);
    this.node.classList.toggle("pd-closed", cells.every((cell) => cell.text !== null));
  }

  // A character in several tokens reads right in the whole text only.
  close(text) {
    for (const cell of this.cells.values()) if (cell.text === null) cell.set("", "pd-pad");
    this.settle();
    if (this.text.textContent !== text.trim()) putPieces(this.text, boldPieces([text.trim()])[0]);
  }
}
