// The page reads without this: it only narrows the list of operations and copies calls.
"use strict";

const filter = document.getElementById("filter");
if (filter) {
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const list of document.querySelectorAll("nav ul")) {
      let shown = 0;
      for (const item of list.children) {
        const fits = item.textContent.toLowerCase().includes(wanted);
        item.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      list.previousElementSibling.hidden = shown === 0;
    }
  });
}

if (navigator.clipboard) {
  for (const call of document.querySelectorAll("pre.call")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(call.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    call.append(button);
  }
}
