"use strict";
// Filters for the items. Without this script all of them are shown, worst first.
document.documentElement.classList.add("scripted");
const cards = [...document.querySelectorAll(".exhibit")];
const controls = document.querySelector(".filters");
if (controls) {
  const said = controls.querySelector("output");
  const apply = () => {
    const of = (name) => controls.elements[name].value;
    const words = of("words").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards) {
      const data = card.dataset;
      const fits =
        (!of("state") || data.state === of("state")) &&
        (!of("system") || data.system === of("system")) &&
        (!of("tag") || data.tag === of("tag")) &&
        (!words.length || words.every((word) => card.textContent.toLowerCase().includes(word)));
      card.hidden = !fits;
      shown += fits;
    }
    said.textContent = shown + " of " + cards.length + " items";
  };
  controls.addEventListener("input", apply);
  controls.addEventListener("submit", (event) => event.preventDefault());
  if (controls.querySelector("[name=state] [value=lost]")) apply();
}
