// Curves of what the station told of itself. Without it the page has the last figures.
"use strict";
const place = document.getElementById("curves");
const curves = [["latency_s", "latency, 99 % (s)"], ["inference_ms", "inference, 99 % (ms)"], ["cpu_percent", "CPU of one core (%)"], ["misses", "misses"], ["memory_mb", "memory (MB)"]];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
fetch(place.dataset.address).then((answer) => answer.json()).then((told) => {
  if (!told.time.length) return;
  for (const [key, title] of curves) {
    const figure = document.createElement("div");
    place.append(figure);
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    const options = {
      title, width: figure.clientWidth, height: 160, axes: [axis, { ...axis, size: 60 }], cursor: { sync: { key: "health" } },
      series: [{}, { label: title, stroke: colour("--mark"), width: 1.5, points: { show: told.time.length < 50 } }],
      scales: { y: { range: (_, low, high) => [0, Math.max(high, 1e-3) * 1.1] } },
    };
    const plot = new uPlot(options, [told.time, told[key]], figure);
    new ResizeObserver(() => plot.setSize({ width: figure.clientWidth, height: 160 })).observe(figure);
  }
});
