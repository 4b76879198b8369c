"use strict";
// A run of the replay: its parts and their tokens as they stood after a forward.

const byId = (id) => document.getElementById(id);
const PAD = 0;
const HUES = [255, 40, 155, 320, 95, 215, 15, 285];

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// The latest of some steps [frame, ...] at a frame; undefined before the first.
function latest(steps, frame) {
  let found;
  for (const step of steps) if (step[0] <= frame) found = step;
  return found;
}

// One position: `versions` are [frame, text, score]; text is PAD, or null for a blank.
class Cell {
  constructor(flat, accuracy) {
    this.versions = [];
    for (let at = 0; at < flat.length; at += 3) this.versions.push(flat.slice(at, at + 3));
    this.accuracy = accuracy;
    this.element = make("span", "cell");
    this.shown = "";
  }

  get last() {
    const version = this.versions[this.versions.length - 1];
    return version ? version[1] : null;
  }

  at(frame) {
    const version = latest(this.versions, frame);
    return version && version[1] !== null ? version : null;
  }

  // The text that is seen after a forward; null for none yet.
  textAt(frame) {
    const version = this.at(frame);
    return version ? (version[1] === PAD ? "" : this.display(version[1])) : null;
  }

  show(frame, isOver, pieces) {
    const version = this.at(frame);
    const age = version ? (isOver ? 3 : Math.min(frame - version[0], 3)) : -1;
    const isBlank = this.isPromised || latest(this.versions, frame) !== undefined;
    const key = `${version ? `${version[0]} ${age}` : isBlank ? "blank" : "later"} ${JSON.stringify(pieces)}`;
    if (key === this.shown) return;
    this.shown = key;
    const { element } = this;
    const isPad = version && version[1] === PAD;
    putPieces(element, pieces);
    element.className = "cell " + (version ? (isPad ? "pad" : "written") : isBlank ? "blank" : "later");
    if (version && age < 3) element.classList.add(age === 0 ? "fresh" : "recent");
    if (version && !isPad && this.accuracy && version[2] !== null && version[2] < 0.9) {
      element.classList.add(version[2] < 0.5 ? "guess" : "unsure");
    }
    if (version) element.removeAttribute("aria-hidden");
    else element.setAttribute("aria-hidden", "true");
  }

  display(text) {
    let shown = text;
    if (this.opens) shown = shown.trimStart();
    if (this.ends) shown = shown.trimEnd();
    return shown;
  }

  // The room of a blank is that of the text that it will hold.
  measure() {
    const last = this.last;
    const text = typeof last === "string" ? this.display(last) : " ·";
    this.element.dataset.ghost = text === "" && !this.opens && !this.ends ? "" : text || "";
  }

  describe(frame, forwards) {
    const version = this.at(frame);
    if (!version) return "not written yet";
    const words = [version[1] === PAD ? "room that stays empty" : `“${version[1].trim() || "space"}”`];
    words.push(version[0] === 0 ? "given" : `forward ${version[0]} of ${forwards}`);
    if (version[2] !== null) words.push(`${this.accuracy ? "confidence" : "score"} ${Number(version[2].toPrecision(3))}`);
    return words.join(" · ");
  }
}

class Part {
  constructor(data, number, accuracy) {
    Object.assign(this, data);
    this.number = number;
    this.hue = number ? HUES[(number - 1) % HUES.length] : 0;
    this.tokens = this.cells.map((flat) => new Cell(flat, accuracy));
    this.trimEnds();
    this.tokens.forEach((cell) => {
      cell.isPromised = number > 0;
      cell.measure();
    });
    this.buildText();
  }

  trimEnds() {
    const texts = this.tokens.filter((cell) => typeof cell.last === "string");
    for (const list of [texts, [...texts].reverse()]) {
      for (const cell of list) {
        cell[list === texts ? "opens" : "ends"] = true;
        if (cell.last.trim() !== "") break;
      }
    }
  }

  buildText() {
    this.article = make("article", this.number ? "part" : "part whole");
    this.article.style.setProperty("--hue", this.hue);
    this.heading = make("h3");
    this.name = make("span", "name", this.topic || "text");
    this.name.dir = "auto";
    this.count = make("span", "count");
    if (this.number) this.heading.append(make("span", "number", String(this.number)));
    this.heading.append(this.name, this.count);
    this.text = make("p", "text");
    this.text.dir = "auto";
    this.tokens.forEach((cell, index) => {
      cell.element.dataset.index = index;
      this.text.append(cell.element);
    });
    this.article.append(this.heading, this.text);
    if (!this.topic) this.heading.hidden = true;
  }

  buildPromise() {
    this.promise = make("li");
    this.promise.style.setProperty("--hue", this.hue);
    this.mark = make("span", "mark");
    this.typedName = make("span", "name");
    this.typedName.dir = "auto";
    this.room = make("span", "count");
    this.meter = make("span", "meter");
    this.meter.append(make("span", "fill"));
    this.promise.append(this.mark, make("span", "number", String(this.number)), this.typedName, this.room, this.meter);
    return this.promise;
  }

  written(frame) {
    return this.tokens.reduce((sum, cell) => sum + (cell.at(frame) ? 1 : 0), 0);
  }

  words(frame) {
    return this.tokens.reduce((sum, cell) => sum + (cell.at(frame) && cell.at(frame)[1] !== PAD ? 1 : 0), 0);
  }

  isDone(frame) {
    return this.closed !== null && frame >= this.closed;
  }

  show(frame, longest, isOver) {
    const isPlaced = this.placed !== null && frame >= this.placed;
    this.article.hidden = !isPlaced;
    this.article.classList.toggle("done", this.isDone(frame) || (isOver && !this.number));
    if (isPlaced) {
      const pieces = boldPieces(this.tokens.map((cell) => cell.textAt(frame)));
      this.tokens.forEach((cell, place) => cell.show(frame, isOver, pieces[place]));
      this.count.textContent = this.kept ? "kept" : `${this.words(frame)} of ${this.length} tokens`;
    }
    if (this.promise) this.showPromise(frame, longest, isPlaced);
  }

  showPromise(frame, longest, isPlaced) {
    const typed = latest(this.typed, frame);
    const isPromised = this.promised !== null && frame >= this.promised;
    this.promise.hidden = !typed || (this.dropped !== null && frame >= this.dropped);
    this.typedName.textContent = isPlaced ? this.topic : typed ? typed[1] : "";
    this.typedName.classList.toggle("typing", !isPromised);
    this.mark.textContent = this.isDone(frame) ? "✓" : isPlaced ? "◐" : "○";
    this.room.textContent = isPromised ? String(this.length || "") : "";
    this.meter.style.setProperty("--room", isPromised ? this.length / longest : 0);
    this.meter.style.setProperty("--filled", isPlaced && this.length ? this.written(frame) / this.length : 0);
  }
}

class Run {
  constructor(data, places) {
    Object.assign(this, data);
    this.name = this.name === "autoregressive" ? "left to right" : this.name.replaceAll("_", " ");
    this.last = this.forwards.length;
    const scores = data.parts.flatMap((part) => part.cells.flatMap((flat) => flat.filter((_, at) => at % 3 === 2)));
    const told = scores.filter((score) => score !== null);
    this.accuracy = told.length > 0 && told.every((score) => score >= 0 && score <= 1);
    let number = 0;
    this.parts = data.parts.map((part) => new Part(part, part.topic || part.typed.length ? ++number : 0, this.accuracy));
    this.planned = this.parts.filter((part) => part.number);
    this.longest = Math.max(1, ...this.planned.map((part) => part.length));
    this.fill(places);
  }

  fill(places) {
    const rounds = new Set(this.planned.map((part) => part.round)).size;
    let before = null;
    for (const part of this.parts) {
      if (rounds > 1 && part.number && part.round !== before) {
        before = part.round;
        if (places.outline) places.outline.append(make("li", "round", `round ${before + 1}`));
      }
      if (part.number && places.outline) places.outline.append(part.buildPromise());
      places.parts.append(part.article);
    }
    this.tellCosts(places);
  }

  tellCosts(places) {
    places.name.textContent = this.name;
    const forwards = `${this.last} ${this.last === 1 ? "forward" : "forwards"}`;
    const costs = [this.tokens === null ? forwards : `${forwards} for ${this.tokens} tokens`];
    if (this.seconds !== null) costs.push(seconds(this.seconds));
    const end = this.whole ? { length: "ended by its length limit", stop: "was stopped" }[this.ended] : "the trace is cut off";
    if (end) costs.push(end);
    const { first_outline_word: outline, first_final_word: firstWord, last_word: lastWord } = this.felt;
    const felt = [["outline", outline], ["first word", firstWord], ["last word", lastWord]].filter(([, at]) => at !== null);
    places.costs.replaceChildren(
      make("span", "", costs.join(" · ")),
      make("span", "felt", felt.map(([name, at]) => `${name} ${seconds(at)}`).join(" · "))
    );
  }

  // The frame at a place of the slider: a forward, or a time in milliseconds.
  frameAt(place, byTime) {
    if (!byTime) return Math.min(place, this.last);
    let frame = 0;
    while (frame < this.last && this.forwards[frame][3] <= place) frame += 1;
    return frame;
  }

  placeOf(frame, byTime) {
    if (!byTime || frame === 0) return frame;
    return this.forwards[frame - 1][3];
  }

  show(frame) {
    const isOver = this.whole && frame === this.last;
    this.parts.forEach((part) => part.show(frame, this.longest, isOver));
  }
}

function seconds(value) {
  return `${value.toFixed(value < 0.1 ? 3 : value < 10 ? 2 : 1)}\u00a0s`;
}
