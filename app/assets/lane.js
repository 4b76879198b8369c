// One answer on the stage: it takes frames (page_frames.py) one by one and draws what each changes.

const NAMES = { planned: "planned", autoregressive: "left to right" };

function seconds(value) {
  return `${value < 10 ? value.toFixed(2) : value.toFixed(1)} s`;
}

function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

class Lane {
  constructor(spec) {
    this.spec = spec;
    this.frames = [];
    this.shown = 0;
    this.rounds = []; // of {topic, length}
    this.parts = new Map(); // "round part" -> Part
    this.open = []; // parts of the round at work, for positions
    this.end = null;
    this.node = make("section", "pd-lane");
    const head = make("header");
    this.title = make("h3", "", spec.form ? "form" : NAMES[spec.decoding] || spec.decoding.replaceAll("_", " "));
    this.counts = make("span", "pd-counts");
    head.append(this.title, this.counts);
    this.plan = make("p", "pd-plan");
    this.body = make("div", "pd-body");
    this.prose = make("p", "pd-text pd-prose");
    this.prose.dir = "auto";
    this.written = []; // cells of the prose
    this.foot = make("footer", "pd-foot");
    this.node.append(head, this.plan, this.body, this.foot);
    this.show_counts(null);
  }

  get pending() {
    return this.frames.length - this.shown;
  }

  take(spec) {
    this.spec = spec;
    this.frames = spec.frames;
    if (!this.shown) this.show_counts(null);
  }

  // Draw the next frame; return whether there was one.
  step() {
    if (!this.pending) return false;
    const frame = JSON.parse(this.frames[this.shown++]);
    for (const [kind, ...rest] of frame.changes) this[`on_${kind}`](frame, ...rest);
    this.show_counts(frame);
    return true;
  }

  show_counts(frame) {
    if (frame) this.counts.textContent = `${counted(frame.forwards, "forward")} · ${seconds(frame.at)}`;
    else if (this.spec.waiting) this.counts.textContent = `waiting, place ${this.spec.waiting} in the queue`;
    else this.counts.textContent = "starting";
    this.node.classList.toggle("pd-waiting", !frame);
  }

  on_plan(frame, text) {
    this.plan.textContent = text;
  }

  on_outline(frame, round, parts) {
    this.plan.textContent = "";
    this.rounds[round] = parts.map(({ topic, length }) => ({ topic, length }));
    this.place(round, parts);
  }

  on_blanks(frame, round, parts) {
    for (const part of this.open) if (!part.topic) part.node.remove(); // its text has settled
    this.place(round, parts);
  }

  place(round, parts) {
    this.open = parts.map((given, index) => {
      const part = new Part(given, this.parts.size);
      part.topic = given.topic;
      this.parts.set(`${round} ${index}`, part);
      this.body.append(part.node);
      return part;
    });
  }

  on_write(frame, positions, texts, scores) {
    positions.forEach((position, place) => {
      const title = `forward ${frame.forwards} · ${seconds(frame.at)} · score ${scores[place]}`;
      for (const part of this.open) part.write(position, texts[place], title);
    });
    for (const part of this.open) part.settle();
  }

  on_blank(frame, positions) {
    for (const part of this.open) positions.forEach((position) => part.blank(position));
    for (const part of this.open) part.settle();
  }

  on_closed(frame, round, index, text) {
    this.parts.get(`${round} ${index}`)?.close(text);
  }

  // Parts show their own text; without a plan the text that has settled stands in front of the blanks.
  on_text(frame, text) {
    if (this.rounds.length) return;
    if (!this.prose.isConnected) this.body.prepend(this.prose);
    const cell = new Cell();
    cell.set(text, this.parts.size ? "" : "pd-word", `forward ${frame.forwards} · ${seconds(frame.at)}`);
    this.written.push(cell);
    this.prose.append(cell.node);
    settle(this.written);
    if (this.parts.size) this.hide_settled();
  }

  // Cells whose text has settled stand in the prose already.
  hide_settled() {
    for (const part of this.open) {
      for (const { text, node } of part.cells.values()) {
        if (text === null) break;
        node.hidden = true;
      }
    }
  }

  on_drafts() {}

  on_end(frame, reason, text, rest, counts, felt) {
    this.end = { reason, text, counts };
    if (this.spec.form) this.show_object(text);
    else if (!this.rounds.length) this.show_plain(text);
    else if (rest) {
      const more = make("p", "pd-text pd-prose");
      more.dir = "auto";
      putPieces(more, boldPieces([rest])[0]);
      this.body.append(more);
    }
    const told = [
      ["outline", felt.first_outline_word],
      ["first final word", felt.first_final_word],
      ["last word", felt.last_word],
    ].filter(([, at]) => at !== null);
    this.foot.textContent = [
      ...told.map(([name, at]) => `${name} ${seconds(at)}`),
      counted(counts.tokens, "token"),
      ...(reason === "length" ? ["cut by a limit"] : []),
    ].join(" · ");
    this.node.classList.add("pd-over");
  }

  show_plain(text) {
    for (const part of this.parts.values()) part.node.remove();
    if (this.prose.textContent !== text.trim()) putPieces(this.prose, boldPieces([text.trim()])[0]);
    if (!this.prose.isConnected) this.body.prepend(this.prose);
  }

  show_object(text) {
    let written = text;
    try {
      written = JSON.stringify(JSON.parse(text), null, 2);
    } catch {} // cut by a limit: as it is
    const object = make("pre", "pd-object", written);
    object.dir = "auto";
    this.body.append(object);
  }
}
