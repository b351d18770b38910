"use strict";
// One page for both ways: with `orders` in its data it is an export and keeps the votes itself;
// without, it asks the server that it came from. All text is set as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const items = new Map(data.items.map(item => [item.item, item]));
const $ = id => document.getElementById(id);
const QUESTIONS = ["follows", "looks"];
const CHOICES = [["left", "← left"], ["tie", "↓ equal"], ["right", "right →"], ["skip", "skip"]];
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "tie", s: "skip", S: "skip" };
let rater, session, order, done, place, answer, since, busy = false;

const remember = (key, value) => { try { localStorage.setItem(key, value); return true; } catch { return false; } };
const recall = key => { try { return localStorage.getItem(key); } catch { return null; } };
const random = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("");
const own = name => `arena/${data.contest}/${name}`;

const served = {
  async post(path, body) {
    const reply = await fetch(path, { method: "POST", body: JSON.stringify(body),
      headers: { "Content-Type": "application/json" } });
    const found = await reply.json();
    if (!reply.ok) throw new Error(found.error);
    return found;
  },
  async begin(name, same) {
    const found = await this.post("/start", { rater: name, session: recall(own(name)) || random(), same });
    if (found.session) remember(own(name), found.session);
    return found;
  },
  vote(vote) { return this.post("/vote", { rater, session, ...vote }); },
};

const exported = {
  kept: null,
  async begin(name) {
    this.kept = JSON.parse(recall(own(name))) || { session: random(), votes: [],
      seat: Object.keys(data.orders)[Math.floor(Math.random() * Object.keys(data.orders).length)] };
    this.show(name);
    return { session: this.kept.session, order: data.orders[this.kept.seat], done: this.kept.votes.map(v => v.place) };
  },
  async vote(vote) {
    const [item, left, right] = order[vote.place];
    this.kept.votes.push({ contest: data.contest, rater, session, seat: this.kept.seat, item, left, right,
      at: new Date().toISOString().slice(0, 19) + "Z", ...vote });
    this.show(rater);
  },
  show(name) {
    if (!remember(own(name), JSON.stringify(this.kept)))
      $("message").textContent = "This browser keeps nothing: download your votes before you close the page.";
    const link = $("download");
    URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob(this.kept.votes.map(v => JSON.stringify(v) + "\n")));
    link.download = `votes-${this.kept.session.slice(0, 8)}.jsonl`;
    $("files").hidden = this.kept.votes.length === 0;
  },
};
const store = data.orders ? exported : served;

async function begin(same) {
  const name = $("name").value.trim();
  if (!name) return;
  try {
    const found = await store.begin(name, same);
    $("taken").hidden = !found.taken;
    if (found.taken) {
      $("taken").firstElementChild.textContent = `Somebody has voted under the name “${name}” already. `
        + "If it was not you, choose another name.";
      return;
    }
    rater = name; session = found.session; order = found.order; done = new Set(found.done);
    $("start").hidden = true;
    show(order.findIndex((_, at) => !done.has(at)));
  } catch (error) { $("message").textContent = `Not begun: ${error.message}`; }
}

function show(at) {
  place = at < 0 ? order.length : at;
  answer = {};
  $("trial").hidden = place >= order.length;
  $("end").hidden = place < order.length;
  if (place >= order.length) return;
  const [name, left, right] = order[place];
  const item = items.get(name);
  $("count").textContent = `${place + 1} of ${order.length}`;
  $("progress").max = order.length;
  $("progress").value = done.size;
  $("prompt").textContent = item.prompt;
  $("source").hidden = !item.picture;
  if (item.picture) $("source").firstElementChild.src = `pictures/${item.picture}.png`;
  $("left").src = `pictures/${left}.png`;
  $("right").src = `pictures/${right}.png`;
  for (const token of (order[place + 1] || []).slice(1)) new Image().src = `pictures/${token}.png`;
  since = Date.now();
  mark();
}

function mark() {
  const now = QUESTIONS.find(question => !answer[question]);
  for (const question of QUESTIONS) {
    $(question).classList.toggle("now", question === now);
    for (const button of $(question).querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(answer[question] === button.value));
  }
}

async function choose(question, choice) {
  if (busy || !question) return;
  answer[question] = choice;
  mark();
  if (QUESTIONS.some(one => !answer[one])) return;
  busy = true;
  try {
    await store.vote({ place, ...answer, ms: Math.max(0, Date.now() - since) });
    $("message").textContent = "";
    done.add(place);
    const next = order.findIndex((_, at) => at > place && !done.has(at));
    show(next);
  } catch (error) {
    answer = {};
    mark();
    $("message").textContent = `Not kept: ${error.message}. Answer again.`;
  }
  busy = false;
}

function back() {
  if (busy || !order) return;
  if (Object.keys(answer).length && place < order.length) { answer = {}; mark(); }
  else if (place > 0) show(place - 1);
}

for (const question of QUESTIONS)
  for (const [value, words] of CHOICES) {
    const button = document.createElement("button");
    button.type = "button"; button.value = value; button.textContent = words;
    button.addEventListener("click", () => choose(question, value));
    $(question).append(button);
  }
$("start").addEventListener("submit", event => { event.preventDefault(); begin(false); });
$("same").addEventListener("click", () => begin(true));
$("back").addEventListener("click", back);
document.addEventListener("keydown", event => {
  if (!order || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === "Backspace") { event.preventDefault(); back(); }
  else if (KEYS[event.key] && place < order.length) {
    event.preventDefault();
    choose(QUESTIONS.find(question => !answer[question]), KEYS[event.key]);
  }
});
