"""The style sheet and the script of every page: quiet colours that differ without colour vision, light, dark and print.

Blue and orange differ in brightness as well as hue (Okabe and Ito 2008). The script only adds: values under the
pointer, sorting of tables, a button that copies. Without it the page says the same.
"""

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1c1f24; --muted: #5d636c; --rule: #e4e3de; --grid: #ecebe6;
  --c0: #0b63ab; --c1: #c2510a; --c2: #11765a; --c3: #8c4a86; --c4: #8a6d00; --c5: #3f4650; --c6: #2a8fc4;
  --c7: #b23a48; --shade: rgba(11, 99, 171, .07);
  --serif: "Iowan Old Style", Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171b; --card: #1b1e23; --ink: #e9e7e2; --muted: #a2a7af; --rule: #2e3239; --grid: #262a30;
    --c0: #77b5f0; --c1: #f0995a; --c2: #5cc7a4; --c3: #cf9bca; --c4: #d9bd55; --c5: #b9bec6; --c6: #9fd6f5;
    --c7: #f08c97; --shade: rgba(119, 181, 240, .09);
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.6 var(--sans); }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 28px; }
header { padding-top: 56px; }
h1, h2 { font-family: var(--serif); font-weight: 600; letter-spacing: -.012em; text-wrap: balance; }
h1 { font-size: clamp(30px, 5vw, 44px); line-height: 1.12; margin: 6px 0 18px; overflow-wrap: anywhere; }
h2 { font-size: 26px; line-height: 1.2; margin: 0 0 10px; }
h3 { font-size: 15px; margin: 0 0 10px; }
p { margin: 0 0 14px; max-width: 68ch; text-wrap: pretty; }
a { color: var(--c0); text-decoration-thickness: 1px; text-underline-offset: 3px; }
small, .aside { font-size: 13px; color: var(--muted); }
.over { font-size: 13px; color: var(--muted); letter-spacing: .04em; }
.lead { font-size: 19px; line-height: 1.55; max-width: 62ch; }
.warn { border-left: 3px solid var(--c1); padding: 2px 0 2px 14px; }
code, pre { font-family: var(--mono); font-size: .9em; }
nav { display: flex; flex-wrap: wrap; gap: 4px 20px; font-size: 14px; margin: 26px 0 0; padding: 12px 0;
  border-block: 1px solid var(--rule); }
nav a { color: var(--muted); text-decoration: none; }
nav a:hover, nav a:focus-visible { color: var(--c0); text-decoration: underline; }
section { padding: 52px 0 0; scroll-margin-top: 8px; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 26px 32px; margin: 34px 0 0; }
.facts dt { font-size: 13px; color: var(--muted); }
.facts dd { margin: 0; font: 600 27px/1.25 var(--serif); font-variant-numeric: lining-nums; white-space: nowrap; }
.facts dd small { display: block; font: 400 13px/1.5 var(--sans); white-space: normal; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 30px 34px;
  margin-top: 22px; align-items: start; }
.row.wide { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
figure { margin: 0; min-width: 0; }
figure.chart { max-width: 520px; }
figcaption { display: flex; flex-wrap: wrap; align-items: baseline; justify-content: space-between; gap: 2px 14px;
  font-size: 13px; color: var(--muted); min-height: 46px; align-content: end; padding-bottom: 8px; }
figcaption b { color: var(--ink); font-size: 15px; font-weight: 600; }
figcaption b small { margin-left: 8px; font-weight: 400; }
figcaption > :first-child { flex: none; }
figcaption label { white-space: nowrap; cursor: pointer; }
figcaption small { white-space: nowrap; }
svg { display: block; width: 100%; height: auto; overflow: visible; font-family: var(--sans); }
.chart svg { touch-action: pan-y; }
.grid { stroke: var(--grid); } .axis { stroke: var(--muted); stroke-opacity: .55; }
.tick { fill: var(--muted); font-size: 11px; font-variant-numeric: tabular-nums; }
.name { fill: var(--muted); font-size: 11px; font-style: italic; }
.note { fill: var(--ink); font-size: 11.5px; paint-order: stroke; stroke: var(--paper); stroke-width: 4px;
  stroke-linejoin: round; }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.line.c1 { stroke-width: 2.2; } .line.faint { stroke-width: 1; stroke-opacity: .45; }
.line.c3 { stroke-dasharray: 6 3; } .line.c4, .line.c5 { stroke-dasharray: 2 3.5; }
.line.c6, .line.c7 { stroke-dasharray: 9 3 2 3; }
.dot { fill: currentColor; } .band { fill: currentColor; fill-opacity: .14; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); } .c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); }
.marked { stroke: var(--ink); stroke-dasharray: 2 3; stroke-opacity: .5; }
.ring { fill: var(--paper); stroke: var(--ink); stroke-width: 1.8; }
.cursor { stroke: var(--ink); stroke-opacity: .45; }
.key { white-space: nowrap; margin-left: 12px; color: var(--muted); }
.key:first-child { margin-left: 0; }
.key i { display: inline-block; width: 16px; height: 3px; border-radius: 2px; margin: 0 6px 3px 0;
  background: var(--c0); vertical-align: middle; }
.key.c1 i { background: var(--c1); } .key.c2 i { background: var(--c2); } .key.c3 i { background: var(--c3); }
.key.c4 i { background: var(--c4); } .key.c5 i { background: var(--c5); } .key.c6 i { background: var(--c6); }
.key.c7 i { background: var(--c7); }
.key output { color: var(--ink); font-variant-numeric: tabular-nums; }
.bar { fill: var(--c0); } .gap { fill: var(--c1); fill-opacity: .28; stroke: var(--c1); }
.under { fill: var(--c0); fill-opacity: .28; stroke: var(--c0); } .few { opacity: .5; }
.ideal { stroke: var(--muted); stroke-dasharray: 4 4; }
.matrix svg { margin: 0 auto 0 0; } .ground { fill: var(--shade); }
.cell.right { fill: var(--c0); } .cell.wrong { fill: var(--c1); }
.in-cell { fill: var(--ink); text-anchor: middle; pointer-events: none; font-variant-numeric: tabular-nums; }
.in-cell.deep { fill: var(--card); }
.matrix .by-likeness, .matrix:has([value=likeness]:checked) .as-given { display: none; }
.matrix:has([value=likeness]:checked) .by-likeness { display: block; }
.scroll { overflow: auto; max-height: 640px; border-block: 1px solid var(--rule); }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px 6px 0; text-align: right; border-bottom: 1px solid var(--rule); vertical-align: top; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
.words td { overflow-wrap: anywhere; }
thead th { font-weight: 600; font-size: 13px; color: var(--muted); position: sticky; top: 0; background: var(--paper);
  white-space: nowrap; }
tbody th { font-weight: 500; }
tbody tr:last-child > * { border-bottom: 0; }
th button { all: unset; cursor: pointer; } th button:hover, th button:focus-visible { color: var(--c0); }
th button:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
[aria-sort=ascending] button::after { content: " ↑"; } [aria-sort=descending] button::after { content: " ↓"; }
td.meter { background: linear-gradient(90deg, var(--c0) calc(100% * var(--v)), var(--rule) 0) no-repeat
  calc(100% - 14px) 100% / 46px 2px; }
.plot img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px;
  outline: 1px solid var(--rule); }
.point { fill: var(--c0); fill-opacity: .45; } .mean { stroke: var(--ink); stroke-dasharray: 2 3; }
pre.said { overflow: auto; max-height: 640px; font-size: 13px; line-height: 1.45; }
tr.usual { color: var(--muted); }
.passage { font-family: var(--mono); font-size: 13px; line-height: 1.75; white-space: pre-wrap; overflow-wrap: anywhere;
  max-width: none; }
.passage span { background: color-mix(in srgb, var(--c1) calc(72% * var(--v)), transparent); border-radius: 2px; }
.passage b { font-weight: 400; color: var(--muted); } .card .passage { color: var(--ink); font-size: 13px; }
.beside-caption { min-height: 36px; display: flex; align-items: end; }
.scroll + .aside { margin-top: 12px; }
.narrow { max-width: 340px; } .keep { white-space: nowrap; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 34px 30px;
  margin-top: 24px; }
.card h3 { font: 600 18px/1.3 var(--serif); margin: 0; overflow-wrap: anywhere; }
.card p { font-size: 13px; color: var(--muted); margin: 0 0 10px; overflow-wrap: anywhere; }
.trio { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; }
.trio figure { min-width: 0; font-size: 12px; color: var(--muted); line-height: 1.3; }
.trio img { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: contain; border-radius: 3px;
  background: var(--card); outline: 1px solid var(--rule); margin-bottom: 5px; }
img.coarse { image-rendering: pixelated; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 16px; margin-top: 20px; }
.maps figure { font-size: 12px; color: var(--muted); } .maps img { width: 100%; border-radius: 3px; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .3em; }
.swatch.for { background: #d55e00; } .swatch.against { background: #0072b2; }
details { border-top: 1px solid var(--rule); } details:last-of-type { border-bottom: 1px solid var(--rule); }
summary { cursor: pointer; padding: 11px 0; font-weight: 600; font-size: 15px; }
summary small { font-weight: 400; margin-left: 8px; }
summary:hover { color: var(--c0); } :focus-visible { outline: 2px solid var(--c0); outline-offset: 3px; }
details > div { padding: 2px 0 20px; } details .scroll { border-bottom: 0; }
.tree td:first-child { white-space: nowrap; padding-left: calc(var(--d) * 18px); }
.tree td:first-child span { color: var(--muted); }
.command { position: relative; background: var(--card); border: 1px solid var(--rule); border-radius: 6px;
  margin: 16px 0 24px; }
.command pre { margin: 0; padding: 14px 84px 14px 16px; overflow: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.command button { position: absolute; top: 9px; right: 9px; font: 13px var(--sans); color: var(--muted);
  cursor: pointer; background: var(--paper); border: 1px solid var(--rule); border-radius: 4px; padding: 4px 10px; }
.command button:hover { color: var(--ink); }
dl.pairs { display: grid; grid-template-columns: max-content 1fr; gap: 4px 26px; margin: 0; font-size: 14px; }
dl.pairs dt { color: var(--muted); } dl.pairs dd { margin: 0; overflow-wrap: anywhere; }
.two { columns: 2 360px; column-gap: 34px; } .two dl.pairs { display: block; }
.two dl.pairs > div { display: grid; grid-template-columns: 132px 1fr; gap: 20px; break-inside: avoid; padding: 3px 0; }
footer { padding: 64px 28px 56px; font-size: 13px; color: var(--muted); }
#tip { position: fixed; pointer-events: none; z-index: 9; background: var(--ink); color: var(--paper); font-size: 13px;
  line-height: 1.4; padding: 5px 10px; border-radius: 4px; max-width: 300px; opacity: 0; transition: opacity .12s; }
@media (max-width: 760px) {
  main, header, footer { padding-left: 18px; padding-right: 18px; } header { padding-top: 32px; }
  section { padding-top: 40px; } .lead { font-size: 17px; } .row.wide { grid-template-columns: minmax(0, 1fr); }
  .facts { grid-template-columns: 1fr 1fr; gap: 20px; } .facts dd { font-size: 23px; }
  figcaption { min-height: 0; } .two dl.pairs > div { grid-template-columns: 116px 1fr; }
  nav { flex-wrap: nowrap; overflow-x: auto; white-space: nowrap; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } #tip { transition: none; } }
@media print {
  :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #111; --muted: #555; --rule: #ccc; --grid: #e6e6e6;
    --c0: #0b63ab; --c1: #c2510a; --c2: #11765a; --c3: #8c4a86; --shade: rgba(11, 99, 171, .07); }
  body { font-size: 11pt; } nav, .command button, figcaption label, #tip { display: none; }
  main, header, footer { max-width: none; padding: 0; } section { padding-top: 26px; }
  .scroll { max-height: none; overflow: visible; } figure, .card, tr { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

SCRIPT = """
const make = (svg, name, look) => {
  const e = svg.appendChild(document.createElementNS(svg.namespaceURI, name));
  e.setAttribute("class", look);
  e.style.display = "none";
  return e;
};
const nearest = (points, x) => points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
for (const figure of document.querySelectorAll("figure[data-values]")) {
  const data = JSON.parse(figure.dataset.values), svg = figure.querySelector("svg");
  const lines = data.lines.filter(line => line.length);
  const outputs = [...figure.querySelectorAll(".key output")], name = svg.querySelector(".name");
  const usual = outputs.map(o => o.textContent);
  const cursor = make(svg, "line", "cursor");
  const dots = outputs.map((o, i) => {
    const dot = make(svg, "circle", "dot " + o.parentElement.className.replace("key", ""));
    dot.setAttribute("r", 4); return dot;
  });
  const move = event => {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const here = nearest(lines.flat(), p.x);
    name.textContent = data.x + " " + here[2];
    cursor.style.display = "";
    cursor.setAttribute("x1", here[0]); cursor.setAttribute("x2", here[0]);
    cursor.setAttribute("y1", 10); cursor.setAttribute("y2", svg.viewBox.baseVal.height - 38);
    data.lines.forEach((line, i) => {
      if (!line.length) return;
      const point = nearest(line, here[0]);
      outputs[i].textContent = point[3];
      dots[i].style.display = "";
      dots[i].setAttribute("cx", point[0]); dots[i].setAttribute("cy", point[1]);
    });
  };
  const leave = () => {
    name.textContent = data.x; outputs.forEach((o, i) => o.textContent = usual[i]);
    [cursor, ...dots].forEach(e => e.style.display = "none");
  };
  svg.addEventListener("pointermove", move); svg.addEventListener("pointerdown", move);
  svg.addEventListener("pointerleave", leave);
}
const tip = document.body.appendChild(document.createElement("div"));
tip.id = "tip"; tip.setAttribute("aria-hidden", "true");
document.addEventListener("pointermove", event => {
  const words = event.target.dataset && event.target.dataset.tip;
  tip.style.opacity = words ? 1 : 0;
  if (!words) return;
  tip.textContent = words;
  tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = Math.max(event.clientY - tip.offsetHeight - 12, 8) + "px";
});
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent; head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = row => row.cells[column].dataset.sort ?? row.cells[column].textContent;
      const rows = [...table.tBodies[0].rows].sort((a, b) =>
        value(a).localeCompare(value(b), undefined, { numeric: true }) * (up ? 1 : -1));
      table.tBodies[0].append(...rows);
    });
  });
}
for (const button of document.querySelectorAll(".command button")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent);
    button.textContent = "Copied"; setTimeout(() => button.textContent = "Copy", 1500);
  });
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => d.open = true));
"""
