// Charts: small SVGs by hand. Each has a sentence for who does not see it.

const NS = "http://www.w3.org/2000/svg";
/** Seconds from one edge to the other. */
export const SECONDS = 120;
const WIDTH = 240;
const HEIGHT = 56;

/** An SVG element with these attributes. */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Runs of neighbouring values, each as [x, y]; where there is none the line is broken. */
function runs(values, y) {
  const step = WIDTH / (SECONDS - 1);
  const first = SECONDS - values.length;
  const found = [];
  let run = null;
  values.forEach((value, i) => {
    if (value === null) { run = null; return; }
    if (!run) found.push(run = []);
    run.push([((first + i) * step).toFixed(1), y(value).toFixed(1)]);
  });
  return found;
}

const line = (run) => run.map(([x, y], i) => `${i ? "L" : "M"}${x} ${y}`).join("");

/** A line over its area, over the last two minutes; `top` is the scale's upper end, if it is known. */
export function area(node, values, { top, label, ago }) {
  const most = top ?? Math.max(...values.filter((value) => value !== null), 0);
  const y = (value) => HEIGHT - 2 - (most > 0 ? value / most : 0) * (HEIGHT - 6);
  draw(node, label, ago, runs(values, y).flatMap((run) => {
    const filled = `${line(run)}L${run.at(-1)[0]} ${HEIGHT}L${run[0][0]} ${HEIGHT}Z`;
    return [svg("path", { class: "area", d: filled }), svg("path", { class: "line", d: line(run) })];
  }));
}

/** A band from low to high with a line in it, on a logarithmic scale. */
export function band(node, { low, middle, high }, { label, ago }) {
  const all = [...low, ...high].filter((value) => value > 0);
  const [least, most] = [Math.log(Math.min(...all) / 1.5), Math.log(Math.max(...all) * 1.2)];
  const y = (value) => HEIGHT - 2 - (Math.log(Math.max(value, 0.01)) - least) / (most - least) * (HEIGHT - 6);
  const [lows, middles, highs] = [low, middle, high].map((values) => runs(values, y));
  draw(node, label, ago, all.length === 0 ? [] : lows.flatMap((run, i) => [
    svg("path", { class: "area", d: `${line(run)}L${highs[i].toReversed().map((point) => point.join(" ")).join("L")}Z` }),
    svg("path", { class: "line faint", d: line(middles[i]) }),
    svg("path", { class: "line faint", d: line(highs[i]) }),
    svg("path", { class: "line", d: line(run) }),
  ]));
}

function draw(node, label, ago, shapes) {
  node.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  node.setAttribute("preserveAspectRatio", "none");
  node.setAttribute("aria-label", label);
  const at = ago === undefined ? [] : [`M${WIDTH * (1 - ago / (SECONDS - 1))} 0V${HEIGHT}`];
  const lines = [`M0 ${HEIGHT - 1}H${WIDTH}`, ...at];
  node.replaceChildren(...lines.map((d) => svg("path", { class: "axis", d })), ...shapes);
}

/** Calls `point` with how many seconds ago it is under the pointer, and with nothing when it leaves. */
export function onPoint(node, point) {
  node.addEventListener("pointermove", (event) => {
    const { left, width } = node.getBoundingClientRect();
    point(Math.round((1 - (event.clientX - left) / width) * (SECONDS - 1)));
  });
  node.addEventListener("pointerleave", () => point());
}

/** Bars of equal width side by side. */
export function bars(values, label) {
  const most = Math.max(...values, 1);
  const width = 4;
  const shapes = values.map((value, i) => {
    const height = value === 0 ? 0 : Math.max(1, value / most * 20);
    return svg("rect", { x: i * width, y: (20 - height).toFixed(1), width: width - 1, height: height.toFixed(1) });
  });
  const size = { viewBox: `0 0 ${values.length * width} 20`, preserveAspectRatio: "none" };
  return svg("svg", { class: "bars", role: "img", "aria-label": label, ...size }, ...shapes);
}
