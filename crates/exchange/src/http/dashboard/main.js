// The dashboard: hears one event a second and shows it. Says so when it hears none.

import { area, band, onPoint } from "./charts.js";
import { Table, el, format } from "./tables.js";
import { known } from "./auction.js";

/** Milliseconds without an event after which what is shown is old. */
const STALE_MS = 3500;
/** Milliseconds until a refused page comes back. */
const RETRY_MS = 5000;

const byId = (id) => document.getElementById(id);
const tables = {
  instances: new Table("instances"),
  bidders: new Table("bidders", "revenue"),
  supplies: new Table("supplies", "requests"),
  countries: new Table("countries", "requests"),
};
let heardAt = null;

function text(id, value) {
  const node = byId(id);
  if (node.textContent !== value) node.textContent = value;
}

function status(kind, words) {
  byId("status").dataset.kind = kind;
  text("status-text", words);
  document.body.classList.toggle("stale", kind === "stale");
}

/** Rows of a list: name, value, and whether to worry. */
function list(id, rows) {
  byId(id).replaceChildren(...rows.filter(Boolean).map(([name, value, worry]) =>
    el("div", { className: worry ? "worry" : "" }, el("dt", {}, name), el("dd", {}, value))));
}

/** The tile that the pointer is on, how many seconds ago it points to, and the moment that is shown. */
let pointed = {};
let last = null;

/** What a tile says beside its figure: `usual`, or what `at` says of the second under the pointer. */
function beside(tile, usual, at) {
  const { length } = last.series.auctions_per_s;
  const ago = pointed.tile === tile && pointed.ago < length ? pointed.ago : undefined;
  text(`${tile}-beside`, ago === undefined ? usual : `${at(length - 1 - ago)}, ${ago ? `${ago} s ago` : "now"}`);
  return ago;
}

function tiles({ now, series, sums }) {
  const percent = (fill) => format.part(fill, fill === null ? 0 : 1);
  const charted = (tile, values, say, usual, options) => {
    const ago = beside(tile, usual, (i) => say(values[i]));
    const most = options.top ? "" : `, at most ${say(Math.max(0, ...values))}`;
    const label = `${options.title} in the last two minutes: now ${say(values.at(-1) ?? null)}${most}`;
    area(byId(`${tile}-chart`), values, { ...options, label, ago });
  };
  text("auctions", format.whole(now.auctions_per_s));
  charted("auctions", series.auctions_per_s, format.whole, `${format.whole(sums.requests)} in all`, { title: "Auctions a second" });
  text("fill", percent(now.fill));
  charted("fill", series.fill, percent, `${format.part(sums.sold, sums.requests)} in all`, { title: "Fill", top: 1 });
  text("revenue", format.money(sums.revenue));
  charted("revenue", series.revenue_per_s, format.money, `${format.money(now.revenue_per_s)} a second`, { title: "Revenue a second" });
  text("latency", format.us(now.p50_us));
  const ago = beside("latency", `p90 ${format.us(now.p90_us)}\np99 ${format.us(now.p99_us)}`,
    (i) => `${format.us(series.p50_us[i])} to ${format.us(series.p99_us[i])}\np50 to p99`);
  band(byId("latency-chart"), { low: series.p50_us, middle: series.p90_us, high: series.p99_us }, {
    ago, label: `Latency in the last two minutes, p50 to p99: now ${format.us(now.p50_us)} to ${format.us(now.p99_us)}`,
  });
}

function states({ limiter, journal, redis, connections, health, is_fresh: isFresh }) {
  list("limiter", limiter === null ? [["Limit", "none"]] : [
    ["Limit", `${limiter.requests} in ${limiter.window_s} s`],
    ["Addresses", `${format.whole(limiter.addresses)} of ${format.whole(limiter.addresses_max)}`],
    ["Refused", format.whole(limiter.limited)],
    ["Without room", format.whole(limiter.full), limiter.full > 0],
    ["Kept by", limiter.shared ? (limiter.is_away ? "itself: Redis is away" : "all instances") : "this instance",
      limiter.is_away],
  ]);
  list("journal", journal === null ? [["State", "off"]] : [
    ["State", journal.available ? "recording" : "no room", !journal.available],
    ["Records", format.whole(journal.records)],
    ["Not yet on disk", format.bytes(journal.behind_bytes)],
    ["Failed syncs", format.whole(journal.sync_failures), journal.sync_failures > 0],
    ["Damaged places", format.whole(journal.damaged), journal.damaged > 0],
  ]);
  const { catalogue } = health;
  list("catalogue", [
    ["Supplies", format.whole(catalogue.supplies)],
    ["Bidders", format.whole(catalogue.bidders)],
    ["Revision", catalogue.revision.slice(0, 8)],
    ["Confirmed", `${format.time(catalogue.stale_s)} ago`, catalogue.stale_s > 10],
    catalogue.trouble ? ["Trouble", catalogue.trouble, true] : null,
  ]);
  list("connections", [
    ["Open", `${format.whole(connections.open)} of ${format.whole(connections.max)}`],
    ["Shed", format.whole(connections.shed), connections.shed > 0],
    ["Cut as too slow", format.whole(connections.cut)],
    ...(redis === null ? [["Redis", "not set"]] : [
      ["Redis", redis.is_up && isFresh ? "up" : "away: sums are as last known", !redis.is_up || !isFresh],
      ["Waiting for it", format.whole(redis.waiting)],
    ]),
  ]);
}

function instances(all) {
  const sum = all.reduce((sum, one) => sum + one.auctions_per_s, 0);
  tables.instances.update({ total: all.length, matched: all.length, rows: all }, {});
  text("instances-count", all.length === 1 ? "1" : `${all.length}, together ${format.whole(sum)} auctions a second`);
}

function show(moment) {
  const { health, sums } = moment;
  status(health.status === "ok" ? "ok" : "worry", health.status === "ok" ? "live" : health.status.replaceAll("_", " "));
  text("meta", `${health.version} · up for ${format.time(health.uptime_s)}`);
  last = moment;
  tiles(moment);
  states(moment);
  instances(moment.instances);
  const context = { sums, bounds: moment.latency_bounds_ms };
  for (const of of ["bidders", "supplies", "countries"]) tables[of].update(moment[of], context);
  known("supply-ids", moment.supplies.rows);
  known("country-ids", moment.countries.rows);
}

/** What stands above the figures; nothing hides it. */
function notice(words) {
  text("notice", words);
  byId("notice").hidden = words === "";
}

/** EventSource comes back by itself when a connection breaks, but not after a refusal. */
function listen() {
  const source = new EventSource("/dashboard/events");
  source.addEventListener("message", (event) => {
    heardAt = performance.now();
    const moment = JSON.parse(event.data);
    const age = moment.tables_age_s;
    notice(age > STALE_MS / 1000 ? `There is much to add up: the tables and sums are ${format.time(age)} old.` : "");
    show(moment);
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    notice("The exchange refuses another page that watches, or is away. Trying again.");
    setTimeout(listen, RETRY_MS);
  });
}

for (const tile of ["auctions", "latency", "fill", "revenue"]) {
  onPoint(byId(`${tile}-chart`), (ago) => {
    pointed = ago === undefined ? {} : { tile, ago };
    if (last) tiles(last);
  });
}

setInterval(() => {
  const silent = heardAt === null ? 0 : performance.now() - heardAt;
  // In steps, so that a screen reader does not read out every second.
  if (silent > STALE_MS) status("stale", `stale: nothing heard for ${silent < 10000 ? "some seconds" : format.time(Math.floor(silent / 10000) * 10)}`);
}, 500);

listen();
