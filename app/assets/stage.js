// The stage: outline and lanes of one question. Gradio gives `element` (the component), `props`, `watch` and `trigger`.

const MOST_BEHIND = 5000; // milliseconds that the page may show later than they came

function start_stage(root, fill) {
  const note = make("p", "pd-note");
  note.setAttribute("role", "status");
  const board = make("div", "pd-board");
  const lanes_node = make("div", "pd-lanes");
  const foot = make("div", "pd-below");
  const verdict = make("p", "pd-verdict");
  const replay = make("a", "pd-replay", "Download replay");
  replay.download = "replay.html";
  foot.append(verdict, replay);
  const outline = new Outline((rounds) => {
    note.textContent = "";
    fill(name, rounds);
  });
  board.append(outline.node, lanes_node);
  root.replaceChildren(note, board, foot);

  let run = null, lanes = [], name = null, pace = 0, timer = null, rounds = 0, stopped = false;
  reset();

  function reset() {
    clearTimeout(timer);
    timer = name = null;
    rounds = 0;
    stopped = false;
    foot.hidden = true;
    delete root.dataset.answer;
    outline.show([]);
    lanes_node.replaceChildren(...lanes.map((lane) => lane.node));
    board.classList.toggle("pd-race", lanes.length > 1);
  }

  // On a phone the answer begins below the screen.
  function come_into_view() {
    if (board.getBoundingClientRect().top < 0.6 * window.innerHeight) return;
    const is_still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    root.scrollIntoView({ behavior: is_still ? "auto" : "smooth" });
  }

  function take(view) {
    if (!view) return;
    note.textContent = view.note || "";
    if (!view.lanes) return; // a refusal: what is shown stays
    if (view.run !== run) {
      run = view.run;
      lanes = view.lanes.map((spec) => new Lane(spec));
      reset();
      come_into_view();
    }
    lanes.forEach((lane, index) => lane.take(view.lanes[index]));
    name = view.name;
    pace = view.pace || 0;
    if (timer === null && !stopped) tick();
  }

  function tick() {
    timer = null;
    const behind = Math.max(...lanes.map((lane) => lane.pending));
    if (behind > 0) {
      if (pace) lanes.forEach((lane) => lane.step());
      else lanes.forEach((lane) => { while (lane.step()); });
      show_outline();
      timer = setTimeout(tick, pace ? Math.min(1000 / pace, MOST_BEHIND / behind) : 0);
    } else if (name !== null && lanes.every((lane) => lane.end)) finish();
  }

  function show_outline() {
    const planned = lanes[0].spec.form ? [] : lanes[0].rounds;
    while (rounds < planned.length) outline.grow(rounds, planned[rounds++]);
    outline.node.hidden = !rounds;
  }

  function finish() {
    outline.enable(rounds > 0);
    replay.href = `replay/${encodeURIComponent(name)}`;
    verdict.textContent = compared(lanes);
    foot.hidden = false;
    root.dataset.answer = name;
  }

  function stop() {
    if (!lanes.length || foot.hidden === false) return;
    clearTimeout(timer);
    stopped = true;
    for (const lane of lanes) if (!lane.end) lane.foot.textContent = "stopped";
  }

  document.addEventListener("pd-stop", stop);
  return take;
}

function compared(lanes) {
  if (lanes.length < 2) return "";
  const [own, other] = lanes.map((lane) => lane.end.counts);
  const per_forward = ({ tokens, forwards }) => (tokens / forwards).toFixed(1);
  return (
    `${counted(own.forwards, "forward")} against ${other.forwards}: ${per_forward(own)} tokens per forward against ` +
    `${per_forward(other)}. Both shared the model's forwards, so that their seconds are not those of one alone.`
  );
}

const take_view = start_stage(element.querySelector(".pd-stage"), (name, outline) => trigger("fill", { name, outline }));
watch("value", () => take_view(props.value));
take_view(props.value);
