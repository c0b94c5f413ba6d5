"use strict";
// While the page itself still comes over the network: how much of the scene inside it is there.
const watch = setInterval(() => {
  const payload = document.getElementById("payload");
  const total = Number(payload?.dataset.length);
  if (!total) return;
  let got = 0;
  for (const node of payload.childNodes) got += node.length;
  const [unit, label, digits] = 0.75 * total < 1e6 ? [1e3, "kB", 0] : [1e6, "MB", 1];
  const number = (n) => ((0.75 * n) / unit).toFixed(digits);
  document.getElementById("stage").textContent =
    `Loading ${number(got)} of ${number(total)} ${label}`;
  document.getElementById("progress").value = (0.5 * got) / total;
}, 100);
