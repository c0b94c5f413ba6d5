// Runs the page's worker (worker.js) in node and prints what it makes of a scene.
//   node worker_harness.js FOLDER PAYLOAD REQUEST > answer.json
// REQUEST is JSON: a list of {time, w2c}. Answered is, for each, where every point is (in the
// payload's order), the order in which they are drawn, and how many times were there whenever the
// page was given some.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const [folder, payload, request] = process.argv.slice(2);
const said = [];
const page = {
  Blob, Response, TextDecoder, DecompressionStream, atob, console,
  self: { postMessage: (message) => said.push(message) },
};
vm.createContext(page);
for (const part of ["motion.js", "worker.js", "packed.js", "container.js", "episodes.js"]) // as a page has them
  vm.runInContext(fs.readFileSync(path.join(folder, part), "utf8"), page);

// The worker's own functions, point after point.
const PLACES = `(({ time, w2c }) => {
  const at = blend(time), turn = turnFor(w2c);
  return Array.from({ length: scene.n }, (_, i) => place(i, at, turn));
})(request)`;

const last = (type) => said.filter((message) => message.type === type).at(-1);

async function main() {
  const bytes = new Uint8Array(fs.readFileSync(payload));
  await page.self.onmessage({ data: { type: "decode", bytes } });
  if (last("error")) throw new Error(last("error").message);
  const answers = [];
  const given = said.filter(({ type }) => type === "scene" || type === "part");
  const ready = given.map((message) => message.type === "scene" ? message.info.ready : message.ready);
  for (const { time, w2c } of JSON.parse(fs.readFileSync(request, "utf8"))) {
    page.request = { time, w2c };
    const points = vm.runInContext(PLACES, page);
    await page.self.onmessage({ data: { type: "sort", row: w2c.slice(8, 12), time } });
    answers.push({ points, order: Array.from(last("order").order), ready });
  }
  fs.writeSync(1, JSON.stringify(answers));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
