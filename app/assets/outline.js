// The outline as cards that can be edited: rename, resize, move, delete, add, keep. What is not kept is written again.

class Card {
  constructor(outline, { topic, length, was }, colour) {
    this.outline = outline;
    this.first = { topic, length };
    this.was = was;
    this.node = accented(make("li", "pd-card"), colour);
    this.topic = make("input", "pd-topic");
    this.topic.value = topic;
    this.topic.maxLength = 200;
    this.topic.dir = "auto";
    this.length = make("input", "pd-length");
    Object.assign(this.length, { type: "number", min: 1, step: 1, value: length });
    this.keep = make("input");
    Object.assign(this.keep, { type: "checkbox", checked: was !== null, hidden: was === null });
    const size = make("label", "pd-size");
    size.append(this.length, make("span", "", "tokens"));
    const keep = make("label", "pd-keep");
    keep.append(this.keep, make("span", "", was === null ? "new" : "keep"));
    const tools = make("span", "pd-tools");
    for (const [sign, name, act] of [
      ["↑", "Move up", () => outline.move(this, -1)],
      ["↓", "Move down", () => outline.move(this, 1)],
      ["×", "Delete", () => outline.remove(this)],
    ]) {
      const button = make("button", "", sign);
      Object.assign(button, { type: "button", title: name });
      button.setAttribute("aria-label", name);
      button.addEventListener("click", act);
      tools.append(button);
    }
    const row = make("div", "pd-row");
    row.append(size, keep, tools);
    this.node.append(this.topic, row);
    for (const input of [this.topic, this.length]) input.addEventListener("input", () => this.edited());
    this.keep.addEventListener("change", () => outline.changed());
    this.node.addEventListener("keydown", (event) => {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (event.altKey && by) {
        event.preventDefault();
        outline.move(this, by);
        event.target.focus();
      }
    });
  }

  edited() {
    const same = this.topic.value === this.first.topic && this.length.value === String(this.first.length);
    this.keep.checked = this.was !== null && same;
    this.outline.changed();
  }

  label(number) {
    this.topic.setAttribute("aria-label", `Name of part ${number}`);
    this.length.setAttribute("aria-label", `Length of part ${number} in tokens`);
    this.keep.setAttribute("aria-label", `Keep part ${number}`);
    this.node.classList.toggle("pd-changed", !this.keep.checked);
  }

  get value() {
    const length = this.length.value === "" ? null : Number(this.length.value);
    return { topic: this.topic.value, length, keep: this.keep.checked, was: this.was };
  }
}

class Outline {
  // fill: called with rounds of parts, as edited_outline.py reads them
  constructor(fill) {
    this.fill = fill;
    this.node = make("section", "pd-outline");
    this.fields = make("fieldset");
    this.lists = make("div", "pd-lists");
    this.bar = make("div", "pd-bar");
    this.add = make("button", "pd-add", "Add a part");
    this.write = make("button", "pd-write", "Write again");
    for (const button of [this.add, this.write]) button.type = "button";
    this.bar.append(this.add, this.write);
    this.fields.append(this.lists, this.bar);
    const head = make("header");
    head.append(make("h3", "", "outline"));
    this.node.append(head, this.fields);
    this.add.addEventListener("click", () => this.append_new());
    this.write.addEventListener("click", () => this.fill(this.value));
    this.show([]);
  }

  show(rounds) {
    this.rounds = [];
    this.made = 0;
    this.lists.replaceChildren();
    rounds.forEach((parts, round) => this.grow(round, parts));
    this.enable(false);
  }

  grow(round, parts) {
    const list = make("ol");
    if (round > 0) this.lists.append(make("p", "pd-round", `then, round ${round + 1}`));
    this.lists.append(list);
    const cards = parts.map((part, index) => new Card(this, { ...part, was: [round, index] }, this.made++));
    list.append(...cards.map((card) => card.node));
    this.rounds[round] = { list, cards };
    this.changed();
  }

  get cards() {
    return this.rounds.flatMap((round) => round.cards);
  }

  get value() {
    return this.rounds.map((round) => round.cards.map((card) => card.value));
  }

  enable(on) {
    this.fields.disabled = !on;
    this.bar.hidden = !on;
    this.node.hidden = !this.rounds.length;
    this.changed();
  }

  changed() {
    this.cards.forEach((card, index) => card.label(index + 1));
    const open = this.cards.filter((card) => !card.keep.checked).length;
    this.write.textContent = open ? `Write ${counted(open, "part")}` : "Write again";
    this.write.disabled = !open;
    this.write.title = open ? "" : "Change, add or release a part first";
  }

  place_of(card) {
    const round = this.rounds.find((one) => one.cards.includes(card));
    return [round, round.cards.indexOf(card)];
  }

  // Within its round; the next round sees what this one wrote.
  move(card, by) {
    const [{ cards, list }, from] = this.place_of(card);
    const to = from + by;
    if (to < 0 || to >= cards.length) return;
    cards.splice(to, 0, ...cards.splice(from, 1));
    list.replaceChildren(...cards.map((one) => one.node));
    this.changed();
  }

  remove(card) {
    const [{ cards }, from] = this.place_of(card);
    cards.splice(from, 1);
    card.node.remove();
    (cards[from] || cards[from - 1])?.topic.focus();
    this.changed();
  }

  append_new() {
    const { cards, list } = this.rounds.at(-1);
    const card = new Card(this, { topic: "", length: 24, was: null }, this.made++);
    cards.push(card);
    list.append(card.node);
    card.topic.focus();
    this.changed();
  }
}
