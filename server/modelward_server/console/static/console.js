"use strict";
// Shows the slider of times where scripts run, and replaces what it tells without a new page.
for (const slider of document.querySelectorAll("input[data-for]")) {
  const input = document.getElementById(slider.dataset.for);
  slider.hidden = false;
  let wanted = 0;
  slider.addEventListener("input", async () => {
    input.value = new Date(1000 * Number(slider.value)).toISOString().slice(0, 19);
    const number = ++wanted;
    await new Promise((done) => setTimeout(done, 120));
    if (number === wanted) await replace(`?as_of=${encodeURIComponent(input.value)}`, "then", () => number === wanted);
  });
}

// Fetches a page of this console, and takes over one part of it.
async function replace(address, id, stillWanted = () => true) {
  const answer = await fetch(address);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const part = page.getElementById(id);
  if (answer.ok && part && stillWanted()) document.getElementById(id).replaceWith(part);
}
