"use strict";
// The pages work without this. With it, a slider tells at once what was in production, and open pages follow changes.

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

// Fetches a page of this console, and takes over one part of it.
async function replace(address, id, stillWanted = () => true) {
  const answer = await fetch(address);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const part = page.getElementById(id);
  if (answer.ok && part && stillWanted()) document.getElementById(id).replaceWith(part);
}

// Whoever is typing or reads a list by the keyboard is not disturbed.
const busy = (live) => live !== document.activeElement && live.contains(document.activeElement);

if (document.getElementById("live")) {
  const changes = new EventSource("/events");
  changes.addEventListener("message", async ({ data }) => {
    const live = document.getElementById("live");
    const concerned = !live.dataset.model || JSON.parse(data).includes(live.dataset.model);
    if (!concerned || busy(live)) return;
    await replace(location.href, "live");
    sliders();
  });
  addEventListener("pagehide", () => changes.close());
}
