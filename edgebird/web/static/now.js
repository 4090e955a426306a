// What happens now, drawn as it comes. Without it the page shows what the server wrote.
"use strict";
const state = document.getElementById("state");
const sources = document.getElementById("sources");
const heard = document.querySelector("#heard ol");
const colours = [0x000004, 0x1c1044, 0x4f127b, 0x812581, 0xb5367a, 0xe55064, 0xfb8761, 0xfec287, 0xfcfdbf];
const palette = Array.from({ length: 256 }, (_, level) => {
  const at = (level / 255) * (colours.length - 1), low = Math.min(colours.length - 2, Math.floor(at));
  const mix = (shift) => Math.round((((colours[low] >> shift) & 255) * (low + 1 - at)) + (((colours[low + 1] >> shift) & 255) * (at - low)));
  return [mix(16), mix(8), mix(0)];
});
let isLive = false;

const cardOf = (name) => [...sources.querySelectorAll(".source")].find((card) => card.dataset.source === name);
const put = (card, key, text) => { const place = card.querySelector(`[data-${key}]`); if (place && place.textContent !== text) place.textContent = text; };
const say = (text, good) => { if (state.textContent !== text) state.textContent = text; state.classList.toggle("good", good); };

function showState(message) {
  if (!isLive) say("The station is heard live.", true);
  isLive = true;
  for (const source of message.sources) {
    const card = cardOf(source.name);
    if (!card) { location.reload(); return; }
    const badge = card.querySelector("[data-state]");
    badge.className = `state ${source.state}`;
    put(card, "state", source.state);
    put(card, "detail", source.detail);
    put(card, "level", source.level_dbfs === null ? "no level" : `${source.level_dbfs.toFixed(0)} dBFS`);
    put(card, "drift", source.drift_ppm === null ? "unknown" : `${source.drift_ppm >= 0 ? "+" : ""}${source.drift_ppm.toFixed(0)} ppm`);
    put(card, "waiting", `${source.waiting_s.toFixed(1)} s`);
    card.querySelector("meter").value = source.level_dbfs === null ? -90 : source.level_dbfs;
  }
}

function showColumns(message) {
  const card = cardOf(message.source), canvas = card && card.querySelector("canvas");
  if (!canvas) return;
  if (canvas.hidden) { canvas.hidden = false; canvas.height = message.bands; }
  const bytes = Uint8Array.from(atob(message.levels), (letter) => letter.charCodeAt(0));
  const columns = bytes.length / message.bands, context = canvas.getContext("2d");
  const shown = Math.min(columns, canvas.width);
  if (!shown) return;
  context.drawImage(canvas, -shown, 0);
  const image = context.createImageData(shown, message.bands);
  for (let x = 0; x < shown; x += 1) {
    for (let y = 0; y < message.bands; y += 1) {
      const db = message.least_db + message.step_db * bytes[(columns - shown + x) * message.bands + y];
      const colour = palette[Math.max(0, Math.min(255, Math.round(((db + 95) / 60) * 255)))];
      image.data.set([...colour, 255], 4 * ((message.bands - 1 - y) * shown + x));
    }
  }
  context.putImageData(image, canvas.width - shown, 0);
}

function showDetection(one) {
  if (heard.querySelector(`a[href="/detection/${one.id}"]`)) return;
  const item = document.createElement("li"), link = document.createElement("a");
  const name = document.createElement("span"), meta = document.createElement("span"), score = document.createElement("span");
  item.className = "new"; link.className = "one"; link.href = `/detection/${one.id}`;
  name.className = "species"; name.textContent = one.name;
  meta.className = "meta"; meta.textContent = `${(one.time || "").slice(0, 19).replace("T", " ")} · ${one.source}`;
  score.className = "score"; score.textContent = one.score.toFixed(2);
  link.append(name, meta); item.append(link, score); heard.prepend(item);
  const none = heard.querySelector(".none");
  if (none) none.remove();
  while (heard.children.length > 25) heard.lastElementChild.remove();
}

const feed = new EventSource("/live");
const on = (kind, act) => feed.addEventListener(kind, (event) => act(JSON.parse(event.data)));
on("state", showState);
on("columns", showColumns);
on("detection", showDetection);
on("absent", (message) => {
  isLive = false;
  const told = state.dataset.told ? ` What it wrote last, at ${state.dataset.told.slice(0, 19).replace("T", " ")}, is below.` : "";
  say(`The station is not heard live (${message.problem}).${told}`, false);
});
feed.onerror = () => { isLive = false; say("This page has lost its server, and tries again.", false); };
