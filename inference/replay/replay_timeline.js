// The timeline: a row per part, a place per forward; plan, tokens written, drafts and commits each have a shape.

const ROW = 24;
const SVG = "http://www.w3.org/2000/svg";

function draw(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.append(element);
  return element;
}

const MARKS = {
  planned: (x, y, to) => draw("path", { d: `M${x} ${y - 3.5}l3.5 3.5l-3.5 3.5l-3.5 -3.5z`, class: "mark-plan" }, to),
  written: (x, y, to, height = 10, width = 4) =>
    draw("rect", { x: x - width / 2, y: y + 5 - height, width, height, rx: Math.min(1, width / 3), class: "mark-write" }, to),
  accepted: (x, y, to) => draw("circle", { cx: x, cy: y + 8.5, r: 1.7, class: "mark-accept" }, to),
  refused: (x, y, to) => draw("path", { d: `M${x - 1.7} ${y + 6.8}l3.4 3.4m0 -3.4l-3.4 3.4`, class: "mark-refuse" }, to),
  committed: (x, y, to) => draw("path", { d: `M${x} ${y - 8}v16m-2.5 -16h5m-5 16h5`, class: "mark-commit" }, to),
};
const NAMES = {
  planned: "planned",
  written: "tokens written",
  accepted: "drafts accepted",
  refused: "draft refused",
  committed: "committed",
};

// Tokens of text by frame; 0 where nothing but padding was written.
function writtenPerFrame(part) {
  const counts = new Map();
  for (const cell of part.tokens) {
    for (const [frame, text] of cell.versions) {
      if (text !== null) counts.set(frame, (counts.get(frame) || 0) + (text === PAD ? 0 : 1));
    }
  }
  return counts;
}

class Timeline {
  constructor(runs, root) {
    this.root = root;
    this.rows = [];
    runs.forEach((run, index) => {
      const drafts = run.outline.length ? run.outline : null;
      const outline = runs.filter((one) => one.planned.length).length > 1 ? `${run.name}: outline` : "outline";
      if (run.planned.length) this.rows.push({ run, name: outline, typed: run.planned, drafts, className: "whole" });
      for (const part of run.parts) {
        const name = part.topic || (index || runs.length > 1 ? run.name : "text");
        this.rows.push({ run, part, name, drafts: part.drafts, className: part.number ? "" : "whole" });
      }
    });
    this.used = new Set();
    this.svg = draw("svg", { height: this.rows.length * ROW });
    this.names = make("div", "row-names");
    for (const row of this.rows) {
      const name = make("span", row.className, row.name);
      if (row.part) name.style.setProperty("--hue", row.part.hue);
      if (row.part && row.part.number) name.prepend(make("span", "number", String(row.part.number)));
      this.names.append(name);
    }
    this.plot = make("div", "plot");
    this.head = make("div", "playhead");
    this.plot.append(this.svg, this.head);
    root.append(this.names, this.plot);
  }

  // Draw it for so many places of the slider.
  layOut(places, byTime) {
    this.places = Math.max(1, places);
    this.byTime = byTime;
    this.width = Math.max(60, this.plot.clientWidth);
    this.svg.replaceChildren();
    this.svg.setAttribute("width", this.width);
    this.rows.forEach((row, index) => this.drawRow(row, index * ROW + ROW / 2));
  }

  x(row, frame) {
    return (row.run.placeOf(frame, this.byTime) / this.places) * this.width;
  }

  mark(name, group, ...where) {
    this.used.add(name);
    return MARKS[name](...where.slice(0, 2), group, ...where.slice(2));
  }

  drawRow(row, y) {
    const group = draw("g", { class: row.className }, this.svg);
    const { part } = row;
    if (part) group.style.setProperty("--hue", part.hue);
    const from = part ? part.promised ?? part.placed ?? 0 : 0;
    const to = part ? part.closed ?? row.run.last : Math.max(...row.typed.map((one) => one.placed ?? one.promised ?? 0));
    draw("path", { d: `M${this.x(row, from)} ${y + 5}H${this.x(row, to)}`, class: "extent" }, group);
    const column = this.width / (this.byTime ? row.run.last || 1 : this.places);
    for (const one of row.typed || []) {
      for (const [frame] of one.typed) this.mark("planned", group, this.x(row, frame), y);
    }
    if (part) this.drawPart(row, group, y, column);
    for (const [frame, offered, accepted] of row.drafts || []) {
      if (accepted) this.mark("accepted", group, this.x(row, frame) - (accepted < offered ? Math.min(2.2, column / 4) : 0), y);
      if (accepted < offered) this.mark("refused", group, this.x(row, frame) + (accepted ? Math.min(2.2, column / 4) : 0), y);
    }
  }

  drawPart(row, group, y, column) {
    const { part } = row;
    if (part.number && part.promised !== null && !part.kept) this.mark("planned", group, this.x(row, part.promised), y);
    const counts = writtenPerFrame(part);
    const most = Math.max(1, ...counts.values());
    const width = Math.max(1.5, Math.min(8, column * 0.7));
    for (const [frame, count] of counts) {
      const height = 3 + 11 * Math.sqrt(count / most);
      const bar = this.mark("written", group, this.x(row, frame), y, height, width);
      draw("title", {}, bar).textContent = `forward ${frame}: ${count} ${count === 1 ? "token" : "tokens"}`;
    }
    for (const frame of part.commits) this.mark("committed", group, this.x(row, frame), y);
  }

  legend(list) {
    const order = Object.keys(NAMES).filter((name) => this.used.has(name));
    list.replaceChildren(
      ...order.map((name) => {
        const item = make("li");
        const picture = draw("svg", { width: 14, height: 20, "aria-hidden": "true" }, item);
        MARKS[name](7, { accepted: 1.5, refused: 1.5 }[name] ?? 10, picture);
        item.append(NAMES[name]);
        return item;
      })
    );
  }

  show(place) {
    this.head.style.transform = `translateX(${(place / this.places) * this.width}px)`;
  }

  placeAt(clientX) {
    const box = this.plot.getBoundingClientRect();
    return Math.max(0, Math.min(this.places, Math.round(((clientX - box.left) / box.width) * this.places)));
  }
}
