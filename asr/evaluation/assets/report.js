"use strict";
/* The utterances of a report: filtered, sorted, drawn a part at a time, and played. */

const AT_ONCE = 30; // utterances drawn before the reader asks for more or scrolls to the end
const PIXELS_A_SECOND = { least: 110, most: 150 }; // a longer picture than the page is wide scrolls by itself
const PLAY = "M3 1.5v13l11-6.5z";
const PAUSE = "M3 1.5h3.6v13H3zM9.4 1.5H13v13H9.4z";

const utterances = JSON.parse(document.getElementById("utterances-data").textContent).map((data, number) => {
  // A text is a list of correct words in one string, and of pairs [said, recognised] with null where there is no word.
  const counts = { words: 0, sub: 0, del: 0, ins: 0 };
  const said = [];
  const recognised = [];
  for (const part of data.text) {
    if (typeof part === "string") {
      counts.words += part.split(" ").length;
      said.push(part);
      recognised.push(part);
      continue;
    }
    counts[kind(part)] += 1;
    if (part[0] !== null) counts.words += 1;
    if (part[0] !== null) said.push(part[0]);
    if (part[1] !== null) recognised.push(part[1]);
  }
  const errors = counts.sub + counts.del + counts.ins;
  const wer = counts.words ? errors / counts.words : errors ? Infinity : 0;
  const searched = plain([data.id, data.speaker ?? "", said.join(" "), recognised.join(" ")].join("\n"));
  return { ...data, ...counts, number, errors, wer, searched };
});

const COLUMNS = [
  { key: "id", label: "Utterance", shown: (u) => u.id },
  { key: "speaker", label: "Speaker", shown: (u) => u.speaker },
  { key: "seconds", label: "Seconds", shown: (u) => u.seconds.toFixed(2) },
  { key: "words", label: "Words", shown: (u) => u.words },
  { key: "wer", label: "WER", shown: (u) => (u.wer === Infinity ? "∞" : `${(100 * u.wer).toFixed(0)} %`) },
  { key: "errors", label: "Errors", shown: errorCounts },
  { key: "snr", label: "SNR, dB", shown: (u) => signed(u.snr) },
  { key: "loudness", label: "Loudness, dBFS", shown: (u) => signed(u.loudness) },
  { key: "confidence", label: "Confidence", shown: (u) => u.confidence.toFixed(2) },
].filter((column) => utterances.some((utterance) => utterance[column.key] !== undefined));

const state = { query: "", wrong: false, filter: null, key: "errors", ascending: false, found: [], drawn: 0 };
const element = (id) => document.getElementById(id);
const list = element("list");
const collator = new Intl.Collator(undefined, { numeric: true });

function kind([said, recognised]) {
  return said === null ? "ins" : recognised === null ? "del" : "sub";
}

function plain(text) {
  return text.normalize("NFC").toLowerCase();
}

function signed(value) {
  return value.toFixed(1).replace("-", "−");
}

function errorCounts(utterance) {
  if (!utterance.errors) return "0";
  const parts = [["sub", "S"], ["del", "D"], ["ins", "I"]].filter(([key]) => utterance[key]);
  return `${utterance.errors} (${parts.map(([key, letter]) => `${utterance[key]}${letter}`).join("\u00a0")})`;
}

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/* Filter and sort. */

function passes(utterance) {
  if (state.wrong && !utterance.errors) return false;
  if (state.query && !utterance.searched.includes(state.query)) return false;
  if (!state.filter) return true;
  const [what, said, recognised] = state.filter;
  if (what === "speaker") return (utterance.speaker ?? "unknown") === said;
  return utterance.text.some(
    (part) => typeof part !== "string" && part[0] === said && (what === "missed" || part[1] === recognised),
  );
}

function update() {
  const { key, ascending } = state;
  const compare = key === "id" || key === "speaker" ? collator.compare : (a, b) => (a === b ? 0 : a < b ? -1 : 1);
  state.found = utterances.filter(passes).sort((a, b) => {
    const [first, second] = [a[key], b[key]];
    if (first === undefined || second === undefined) return (first === undefined) - (second === undefined);
    const order = ascending ? compare(first, second) : compare(second, first);
    return order || b.wer - a.wer || a.number - b.number || 0;
  });
  list.querySelectorAll("tbody").forEach((body) => body.remove());
  stop();
  state.drawn = 0;
  const all = utterances.length;
  element("count").textContent =
    state.found.length === all ? `${all} utterances` : `${state.found.length} of ${all} utterances`;
  element("chip").hidden = !state.filter;
  if (state.filter) element("chip").textContent = `${state.filter.label} ✕`;
  for (const head of list.tHead.rows[0].cells) {
    if (head.dataset.key === key) head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    else head.removeAttribute("aria-sort");
  }
  element("key").value = key;
  element("direction").textContent = ascending ? "↑ smallest first" : "↓ largest first";
  more();
}

function more() {
  const next = state.found.slice(state.drawn, state.drawn + AT_ONCE);
  list.append(...next.map(row));
  state.drawn += next.length;
  const left = state.found.length - state.drawn;
  element("more").hidden = !left;
  element("more").textContent = `Show ${Math.min(left, AT_ONCE)} more of ${left}`;
  atEnd.unobserve(element("more")); // observed anew, it tells again even if it is still in view
  atEnd.observe(element("more"));
}

const atEnd = new IntersectionObserver(
  (entries) => {
    if (entries.at(-1).isIntersecting && !element("more").hidden) more();
  },
  { rootMargin: "600px" },
);

function sortBy(key, ascending) {
  state.key = key;
  state.ascending = ascending;
  update();
}

/* Drawing. */

function row(utterance) {
  const facts = make("tr", { class: "facts" });
  for (const { key, label, shown } of COLUMNS) {
    const known = utterance[key] !== undefined;
    const text = key === "id" || key === "speaker";
    const cell = make("td", { class: text ? key : "num", "data-label": label }, known ? String(shown(utterance)) : "");
    if (text) cell.dir = "auto";
    facts.append(cell);
  }
  const text = make("p", { dir: "auto" }, ...utterance.text.flatMap((part) => [marked(part), " "]));
  if (!utterance.text.length) text.append(make("span", { class: "muted" }, "no words, and none recognised"));
  const cell = make("td", { colspan: COLUMNS.length }, text);
  if (utterance.problem) cell.append(make("p", { class: "note" }, utterance.problem));
  if (utterance.media) cell.append(media(utterance));
  return make("tbody", {}, facts, make("tr", { class: "text" }, cell));
}

function marked(part) {
  if (typeof part === "string") return part;
  const span = make("span", { class: kind(part) });
  if (part[0] !== null) span.append(make("del", {}, part[0]));
  if (part[1] !== null) span.append(make("ins", {}, part[1]));
  return span;
}

function media(utterance) {
  const { seconds, marks = [] } = utterance.media;
  const head = make("div", { class: "head" });
  const image = make("img", {
    src: `data:image/webp;base64,${element(`picture-${utterance.number}`).textContent}`,
    decoding: "async",
    alt: `Log-mel energies of ${utterance.id} over time`,
  });
  const picture = make("div", { class: "picture" }, image, head);
  const range = make("input", {
    type: "range", min: 0, max: seconds, step: 0.01, value: 0, "aria-label": `Position in ${utterance.id}, seconds`,
  });
  const button = make("button", { type: "button", class: "play", "aria-label": `Play ${utterance.id}` });
  const shape = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  shape.setAttribute("viewBox", "0 0 16 16");
  shape.setAttribute("aria-hidden", "true");
  shape.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  shape.firstChild.setAttribute("d", PLAY);
  button.append(shape);
  const clock = make("output", {}, `${seconds.toFixed(1)} s`);
  const track = make("div", { class: "track" }, picture);
  track.style.minWidth = `${Math.round(seconds * PIXELS_A_SECOND.least)}px`;
  const timeline = make("div", { class: "timeline" }, track);
  const box = make("div", { class: "media" }, timeline, make("div", { class: "controls" }, button, range, clock));
  box.style.width = `max(17rem, ${Math.round(seconds * PIXELS_A_SECOND.most)}px)`;
  const view = { utterance, seconds, head, timeline, range, button, clock };
  if (marks.length) track.append(wordMarks(view, picture, marks));
  button.addEventListener("click", () => (playing === view && !player.paused ? player.pause() : play(view)));
  range.addEventListener("input", () => seek(view, Number(range.value)));
  picture.addEventListener("click", (event) => {
    const edges = picture.getBoundingClientRect();
    play(view, ((event.clientX - edges.left) / edges.width) * seconds);
  });
  return box;
}

function wordMarks(view, picture, marks) {
  const strip = make("div", { class: "marks" });
  for (const [text, start, end, confidence, error] of marks) {
    const left = (100 * start) / view.seconds;
    const tick = make("div", { class: "tick" });
    tick.style.left = `${left}%`;
    picture.append(tick);
    const sure = confidence === null ? "" : `, confidence ${confidence.toFixed(2)}`;
    const hint = `${text}, ${start.toFixed(2)} to ${end.toFixed(2)} s${sure}`;
    const button = make("button", { type: "button", title: hint, "aria-label": `Play from ${hint}`, class: error }, text);
    button.style.left = `${left}%`;
    button.style.width = `${(100 * (end - start)) / view.seconds}%`;
    if (confidence !== null) {
      const bar = make("i");
      bar.style.width = `${100 * confidence}%`;
      button.append(bar);
    }
    button.addEventListener("click", () => play(view, start));
    strip.append(button);
  }
  return strip;
}

/* Playing: one audio element, given the sound of the utterance that is played. */

const player = element("player");
let playing = null;
let address = null;

function load(view) {
  if (playing === view) return;
  stop();
  playing = view;
  const bytes = Uint8Array.from(atob(element(`audio-${view.utterance.number}`).textContent), (c) => c.charCodeAt(0));
  address = URL.createObjectURL(new Blob([bytes], { type: "audio/mpeg" }));
  player.src = address;
}

function seek(view, seconds) {
  load(view);
  player.currentTime = seconds;
  draw();
}

function play(view, from) {
  if (from !== undefined) seek(view, from);
  else if (playing !== view && Number(view.range.value) < view.seconds - 0.05) seek(view, Number(view.range.value));
  else load(view);
  player.play().catch((error) => {
    if (error.name !== "AbortError") view.clock.textContent = "this browser cannot play it";
  });
}

function stop() {
  if (!playing) return;
  player.pause();
  const { button, head } = playing;
  button.firstChild.firstChild.setAttribute("d", PLAY);
  button.setAttribute("aria-label", `Play ${playing.utterance.id}`);
  head.style.visibility = "hidden";
  playing = null;
  player.removeAttribute("src");
  URL.revokeObjectURL(address);
}

function draw() {
  if (!playing) return;
  const time = Math.min(player.currentTime, playing.seconds);
  playing.range.value = time;
  playing.clock.textContent = `${time.toFixed(1)} of ${playing.seconds.toFixed(1)} s`;
  playing.head.style.left = `${(100 * time) / playing.seconds}%`;
  playing.head.style.visibility = "visible";
  if (player.paused) return;
  const { timeline, head } = playing;
  const ahead = head.offsetLeft - timeline.scrollLeft;
  if (ahead < 0 || ahead > 0.9 * timeline.clientWidth) timeline.scrollLeft = head.offsetLeft - 0.1 * timeline.clientWidth;
  requestAnimationFrame(draw);
}

for (const event of ["play", "pause", "ended"]) {
  player.addEventListener(event, () => {
    if (!playing) return;
    const { button, utterance } = playing;
    button.firstChild.firstChild.setAttribute("d", player.paused ? PLAY : PAUSE);
    button.setAttribute("aria-label", `${player.paused ? "Play" : "Pause"} ${utterance.id}`);
    draw();
  });
}

/* The controls. */

const heads = make("tr");
for (const { key, label } of COLUMNS) {
  const button = make("button", { type: "button" }, label);
  const words = key === "id" || key === "speaker";
  button.addEventListener("click", () => sortBy(key, state.key === key ? !state.ascending : words));
  heads.append(make("th", { "data-key": key, scope: "col", class: words ? key : "num" }, button));
  element("key").append(make("option", { value: key }, label));
}
list.append(make("thead", {}, heads));
element("key").addEventListener("change", () => {
  const key = element("key").value;
  sortBy(key, key === "id" || key === "speaker");
});
element("direction").addEventListener("click", () => sortBy(state.key, !state.ascending));
element("query").addEventListener("input", () => {
  state.query = plain(element("query").value.trim());
  update();
});
element("wrong").addEventListener("change", () => {
  state.wrong = element("wrong").checked;
  update();
});
element("chip").addEventListener("click", () => {
  state.filter = null;
  update();
  element("query").focus();
});
for (const button of document.querySelectorAll("button.filter")) {
  button.addEventListener("click", () => {
    state.filter = Object.assign(JSON.parse(button.dataset.filter), { label: button.dataset.label });
    update();
    element("utterances").scrollIntoView();
    element("chip").focus({ preventScroll: true });
  });
}
element("more").addEventListener("click", more);
update();
