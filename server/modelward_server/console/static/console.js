"use strict";
// The pages work without this. With it, a slider tells at once what was in production, and open pages follow changes.

// What a page shows, without that which differs with every second.
function lasting(live) {
  const copy = live.cloneNode(true);
  copy.querySelectorAll(".asof, .timeline").forEach((part) => part.remove());
  return copy;
}

const live = document.getElementById("live");
let shown = live && lasting(live);
const sliders = () => document.querySelectorAll("input[data-for]").forEach((slider) => (slider.hidden = false));
sliders();

let wanted = 0;
document.addEventListener("input", async ({ target }) => {
  if (!target.matches("input[data-for]")) return;
  const input = document.getElementById(target.dataset.for);
  input.value = new Date(1000 * Number(target.value)).toISOString().slice(0, 19);
  const number = ++wanted;
  await new Promise((done) => setTimeout(done, 120));
  if (number === wanted) await replace(`?as_of=${encodeURIComponent(input.value)}`, "then", () => number === wanted);
});

const parsed = (text) => new DOMParser().parseFromString(text, "text/html");

// Fetches a page of this console, and takes over one part of it.
async function replace(address, id, stillWanted = () => true) {
  const answer = await fetch(address);
  const part = parsed(await answer.text()).getElementById(id);
  if (answer.ok && part && stillWanted()) document.getElementById(id).replaceWith(part);
}

// Whoever is typing or reads a list by the keyboard is not disturbed: the newest change waits until he leaves it.
let newest = null;
const busy = (live) => live !== document.activeElement && live.contains(document.activeElement);
function takeOver() {
  const live = document.getElementById("live");
  if (newest === null || busy(live)) return;
  const part = parsed(newest).getElementById("live");
  newest = null;
  if (!part || lasting(part).isEqualNode(shown)) return;
  const next = part.querySelector("a[data-next]");
  if (next) location.replace(next.href);
  shown = lasting(part);
  // What the slider was moved to stays.
  if (wanted) [".asof", "#then"].forEach((kept) => part.querySelector(kept)?.replaceWith(live.querySelector(kept)));
  live.replaceWith(part);
  sliders();
}

if (document.querySelector("#live:not([data-ended])")) {
  const stale = document.getElementById("stale");
  const changes = new EventSource(`/events?page=${encodeURIComponent(location.pathname + location.search)}`);
  changes.addEventListener("message", ({ data }) => {
    stale.hidden = true;
    newest = data;
    takeOver();
    if (document.querySelector("#live[data-ended]")) changes.close();
  });
  changes.addEventListener("error", () => (stale.hidden = false));
  document.addEventListener("focusout", () => setTimeout(takeOver));
  addEventListener("pagehide", () => changes.close());
}
