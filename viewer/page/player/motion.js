// Where a time lies between the stored times: the stamps around it, and what of them counts.
// Shared by the page and its worker (recon/motion/curve.py says what the curves are).
"use strict";

// `curved`: offsets are cubics with stored slopes, and gains rest at every stamp; else both are
// straight lines. Weights are those of the offset before, its slope, the offset after, its slope.
// Only the first `ready` times are there.
function momentAt(times, time, curved, ready = times.length) {
  let before = 0;
  while (before < ready - 2 && time >= times[before + 1]) before++;
  const after = Math.min(before + 1, ready - 1);
  const span = times[after] - times[before];
  const f = span > 0 ? Math.min(1, Math.max(0, (time - times[before]) / span)) : 0;
  if (!curved) return { before, after, fraction: f, weights: [1 - f, 0, f, 0] };
  const rise = f * f * (3 - 2 * f);
  const weights = [1 - rise, span * f * (1 - f) ** 2, rise, -span * f * f * (1 - f)];
  return { before, after, fraction: rise, weights };
}
