"use strict";
// Before and after on top of each other, with a slider. Without this script they stand side by side.
document.documentElement.classList.add("scripted");
for (const box of document.querySelectorAll(".compare")) {
  const range = box.querySelector("input");
  const move = () => box.style.setProperty("--at", range.value + "%");
  range.addEventListener("input", move);
  move();
}
