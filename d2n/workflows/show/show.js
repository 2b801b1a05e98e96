"use strict";
const told = document.getElementById("told"), drop = document.getElementById("drop");
const file = document.getElementById("file");
let latest = 0;

function say(text) { told.textContent = text; }

async function send(photograph) {
  const turn = ++latest;
  say("Reading the photograph …");
  let answer;
  try {
    const response = await fetch("/photographs", { method: "POST", body: photograph, headers: { "X-D2N": "1" } });
    answer = await response.json();
    if (!response.ok) { say(answer.error || answer.detail || `refused (${response.status})`); return; }
  } catch (error) { say("d2n show does not answer: was it ended?"); return; }
  if (turn !== latest) return;
  say(`${answer.width} × ${answer.height} pixels. Translating …`);
  const before = document.getElementById("before");
  if (before) { before.hidden = false; hits(answer.key, before.querySelector(".hits")); }
  const nights = [...document.querySelectorAll(".night")];
  for (const night of nights) await one(night, answer, turn);
  if (turn === latest) say(`${answer.width} × ${answer.height} pixels, ${nights.length === 1 ? "one night" : nights.length + " nights"}.`);
}

async function one(night, answer, turn) {
  if (turn !== latest) return;
  const number = night.dataset.number, begun = performance.now();
  const after = night.querySelector(".after"), day = night.querySelector(".slider .day");
  const warning = night.querySelector(".warning"), text = answer.warnings[number];
  warning.hidden = !text;
  warning.textContent = text || "";
  const place = `/photographs/${answer.key}/${number}.jpg`;
  night.hidden = false;
  after.src = place;
  day.src = `/photographs/${answer.key}/day.jpg`;
  night.querySelector(".save").href = place;
  try { await after.decode(); } catch (error) { night.querySelector(".took").textContent = "not translated: see the terminal"; return; }
  night.querySelector(".took").textContent = `after ${((performance.now() - begun) / 1000).toFixed(1)} s`;
  const list = night.querySelector(".hits");
  if (list) await hits(answer.key, list);
}

async function hits(key, list) {
  const response = await fetch(`/photographs/${key}/${list.dataset.which}/hits`);
  const found = await response.json();
  list.replaceChildren();
  if (!response.ok) { list.textContent = found.error || "no hits"; return; }
  for (const hit of found) {
    const item = document.createElement("li"), image = document.createElement("img");
    image.src = `/folder/${hit.number}.jpg`;
    image.alt = hit.name;
    item.append(image, `${hit.similarity.toFixed(4)} ${hit.name}`);
    list.append(item);
  }
}

for (const slider of document.querySelectorAll(".slider")) {
  const range = slider.querySelector("input");
  range.addEventListener("input", () => slider.style.setProperty("--share", `${range.value}%`));
}
file.addEventListener("change", () => { if (file.files.length) send(file.files[0]); file.value = ""; });
for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  window.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
}
