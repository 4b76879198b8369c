// The controls: slider, play, speed, keys and the pointer; everything starts here.

(() => {
  const data = JSON.parse(byId("data").textContent);
  const runs = data.runs.map((one, index) => {
    const name = index ? "beside" : "answer";
    const places = { name: byId(`${name}-name`), costs: byId(`${name}-costs`), parts: byId(index ? "beside-parts" : "parts") };
    return new Run(one, index ? places : { ...places, outline: byId("promises") });
  });
  const [first] = runs;
  const slider = byId("slider");
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const timeline = new Timeline(runs, byId("timeline"));
  const SPEEDS = { forwards: [1, 2, 4, 8, 16, 32, 64], time: [0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8] };
  let byTime = false;
  let place = 0;
  let playing = null; // the moment and the place at which playing began

  function end() {
    return Math.max(...runs.map((run) => run.placeOf(run.last, byTime)), 1);
  }

  function show(next) {
    place = Math.max(0, Math.min(end(), next));
    const whole = Math.round(place);
    slider.value = String(whole);
    const frames = runs.map((run) => run.frameAt(whole, byTime));
    runs.forEach((run, index) => run.show(frames[index]));
    timeline.show(byTime ? place : whole);
    byId("waiting").hidden = first.parts.some((part) => part.placed !== null && frames[0] >= part.placed);
    byId("waiting").textContent = frames[0] ? "The outline is being written." : "The prompt is read.";
    const forward = first.forwards[frames[0] - 1];
    const at = byTime ? seconds(whole / 1000) : `forward ${whole} of ${end()}`;
    const doing = whole > first.placeOf(first.last, byTime) ? "done" : forward ? forward[0] : "start";
    byId("status").textContent = `${at} · ${doing}`;
    slider.setAttribute("aria-valuetext", byId("status").textContent);
    runs.forEach((run, index) => {
      const done = frames[index] === run.last;
      document.body.classList.toggle(index ? "beside-done" : "answer-done", done);
    });
  }

  function stop() {
    playing = null;
    byId("play").textContent = "Play";
    byId("play").setAttribute("aria-pressed", "false");
  }

  function play() {
    if (place >= end()) show(0);
    playing = { since: performance.now(), from: place };
    byId("play").textContent = "Pause";
    byId("play").setAttribute("aria-pressed", "true");
    requestAnimationFrame(tick);
  }

  function tick(now) {
    if (playing === null) return;
    const rate = Number(byId("speed").value) * (byTime ? 1000 : 1);
    const next = playing.from + ((now - playing.since) / 1000) * rate;
    if (byTime || Math.floor(next) !== place) show(byTime ? next : Math.floor(next));
    if (place >= end()) stop();
    else requestAnimationFrame(tick);
  }

  function seek(next) {
    stop();
    show(next);
  }

  function fillSpeeds() {
    const all = byTime ? SPEEDS.time : SPEEDS.forwards;
    const wanted = byTime ? end() / 1000 / 8 : end() / 7; // all of it in seven or eight seconds
    const best = all.reduce((one, other) => (Math.abs(Math.log(other / wanted)) < Math.abs(Math.log(one / wanted)) ? other : one));
    byId("speed").replaceChildren(
      ...all.map((value) => {
        const option = make("option", "", byTime ? `${value}×` : `${value} forwards/s`);
        option.value = String(value);
        option.selected = value === best;
        return option;
      })
    );
  }

  function layOut() {
    slider.max = String(end());
    timeline.layOut(end(), byTime);
    timeline.legend(byId("legend"));
    show(place);
  }

  function useClock(wanted) {
    const frame = first.frameAt(Math.round(place), byTime);
    const isEnd = place >= end();
    stop();
    byTime = wanted;
    byId("clock").checked = wanted;
    slider.setAttribute("aria-label", wanted ? "Milliseconds" : "Forward");
    fillSpeeds();
    place = isEnd ? end() : first.placeOf(frame, byTime);
    layOut();
  }

  function step(count) {
    const frames = byTime ? [...new Set(runs.flatMap((run) => run.forwards.map((one) => one[3])))].sort((a, b) => a - b) : null;
    if (!frames) return seek(Math.round(place) + count);
    const index = frames.filter((at) => at <= Math.round(place)).length - 1 + count;
    seek(index < 0 ? 0 : Math.ceil(frames[Math.min(index, frames.length - 1)]));
  }

  const KEYS = {
    ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
    ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
    Home: () => seek(0),
    End: () => seek(end()),
    " ": () => (playing ? stop() : play()),
    t: () => useClock(!byTime),
  };

  document.addEventListener("keydown", (event) => {
    const isControl = event.target.matches("button, select, input[type=checkbox]");
    const key = KEYS[event.key];
    if (!key || event.ctrlKey || event.metaKey || event.altKey || (isControl && event.key !== "t")) return;
    if (event.target.matches("select")) return;
    event.preventDefault();
    key(event);
  });
  slider.addEventListener("input", () => seek(Number(slider.value)));
  byId("play").addEventListener("click", () => (playing ? stop() : play()));
  byId("speed").addEventListener("change", () => {
    if (playing) playing = { since: performance.now(), from: place };
  });
  byId("clock").addEventListener("change", () => useClock(byId("clock").checked));
  byId("unsure").addEventListener("change", () => document.body.classList.toggle("shows-unsure", byId("unsure").checked));
  timeline.plot.addEventListener("pointerdown", (event) => {
    timeline.plot.setPointerCapture(event.pointerId);
    seek(timeline.placeAt(event.clientX));
  });
  timeline.plot.addEventListener("pointermove", (event) => {
    if (event.buttons) seek(timeline.placeAt(event.clientX));
  });

  // A word's forward and confidence, where the pointer is.
  const tip = byId("tip");
  byId("main").addEventListener("pointerover", (event) => {
    const element = event.target.closest(".cell");
    tip.hidden = !element;
    if (!element) return;
    const run = runs.find((one) => one.parts.some((part) => part.text === element.parentElement));
    const part = run.parts.find((one) => one.text === element.parentElement);
    const frame = run.frameAt(Math.round(place), byTime);
    tip.textContent = part.tokens[Number(element.dataset.index)].describe(frame, run.last);
    const box = element.getClientRects()[0];
    if (!box) return;
    const left = Math.min(box.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(4, box.top - tip.offsetHeight - 6)}px)`;
  });
  byId("main").addEventListener("pointerleave", () => (tip.hidden = true));
  addEventListener("scroll", () => (tip.hidden = true), { passive: true });
  addEventListener("resize", layOut);

  byId("prompt").textContent = data.title || first.prompt || "Replay";
  byId("kicker").textContent = first.model.split(/[\\/]/).filter(Boolean).pop() || "";
  if (!first.planned.length) byId("outline").hidden = true;
  byId("beside").hidden = runs.length < 2;
  document.body.classList.add(runs.length > 1 ? "two" : "one", first.planned.length ? "planned" : "plain");
  byId("unsure").closest("label").hidden = !runs.some((run) => run.accuracy);
  byId("main").hidden = byId("controls").hidden = false;
  fillSpeeds();
  place = end();
  layOut();
  // page.html#play plays it; page.html#12 opens it at forward 12.
  const wanted = location.hash.slice(1);
  if (wanted === "play" && !isStill) {
    show(0);
    play();
  } else if (/^\d+$/.test(wanted)) {
    show(Number(wanted));
  }
})();
