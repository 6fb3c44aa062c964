// Tables: one description of columns each, sorted by header, by list (on a phone) and filtered by id.
//
// As the page opens it shows the rows that every event brings; whoever sorts or filters gets rows of their own.

import { bars } from "./charts.js";

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const money = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });

/** Numbers for people; what is not there is a dash. */
export const format = {
  whole: (n) => (n === null || n === undefined ? "–" : whole.format(n)),
  money: (n) => (n === null || n === undefined ? "–" : money.format(n)),
  part: (part, of, places = 1) => (of ? `${(100 * part / of).toFixed(places)}%` : "–"),
  ms: (n) => (n === null || n === undefined ? "–" : `${n < 100 ? n.toFixed(1) : whole.format(n)} ms`),
  us(n) {
    if (n === null || n === undefined) return "–";
    return n < 1000 ? `${n < 10 ? n.toFixed(1) : whole.format(n)} µs` : format.ms(n / 1000);
  },
  time(s) {
    const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
    return d ? `${d} d ${h} h` : h ? `${h} h ${m} min` : m ? `${m} min` : `${Math.floor(s)} s`;
  },
  bytes: (n) => (n < 10240 ? `${whole.format(n)} B` : n < 10485760 ? `${whole.format(n / 1024)} KiB`
    : `${whole.format(n / 1048576)} MiB`),
};

/** An element with these properties; text is text, never markup. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** A bar as long as the part that `n` is of `of`, with its text. */
function share(n, of) {
  const bar = el("span", { className: "share", ariaHidden: "true" });
  bar.style.setProperty("--part", of ? n / of : 0);
  return el("span", { className: "shared" }, bar, el("span", {}, format.part(n, of)));
}

/** Latencies by the places that any row shown has; all rows share one scale. */
function distribution(row, rows, bounds) {
  const used = (place) => rows.some((other) => other.latencies[place] > 0);
  const places = row.latencies.map((_, place) => place);
  const [first, last] = [places.findIndex(used), places.findLastIndex(used)];
  if (first < 0 || row.calls === 0) return "–";
  const most = row.latencies.indexOf(Math.max(...row.latencies));
  const from = most ? bounds[most - 1] : 0;
  const to = bounds[most] === undefined ? "longer" : `${bounds[most]} ms`;
  return bars(row.latencies.slice(first, last + 1), `Latencies, most from ${from} to ${to}`);
}

/** Each: the name it is sorted by or none, its heading, what a row shows. */
const COLUMNS = {
  bidders: [
    ["id", "Bidder", (row) => row.id],
    ["calls", "Share of calls", (row, { sums }) => share(row.calls, sums.calls)],
    ["win_rate", "Win rate", (row) => format.part(row.calls_won, row.calls_bid)],
    [null, "Latency", (row, { rows, bounds }) => distribution(row, rows, bounds)],
    ["p50", "p50", (row) => format.ms(row.p50_ms)],
    ["p99", "p99", (row) => format.ms(row.p99_ms)],
    ["wins", "Wins", (row) => format.whole(row.wins)],
    ["revenue", "Revenue", (row) => format.money(row.revenue)],
    ["price", "Avg price", (row) => (row.wins ? format.money(row.revenue / row.wins) : "–")],
    ["no_bids", "No-bids", (row) => format.whole(row.no_bids)],
    ["timeouts", "Timeouts", (row) => format.whole(row.timeouts)],
  ],
  supplies: [
    ["id", "Supply", (row) => row.id],
    ["requests", "Requests", (row) => format.whole(row.requests)],
    ["sold", "Sold", (row) => format.whole(row.sold)],
    ["fill", "Fill", (row) => format.part(row.sold, row.requests)],
    ["revenue", "Revenue", (row) => format.money(row.revenue)],
    ["price", "Avg price", (row) => (row.sold ? format.money(row.revenue / row.sold) : "–")],
  ],
  countries: [
    ["id", "Country", (row) => country(row.id)],
    ["requests", "Requests", (row, { sums }) => share(row.requests, sums.requests)],
    ["fill", "Fill", (row) => format.part(row.sold, row.auctions)],
    ["revenue", "Revenue", (row) => format.money(row.revenue)],
  ],
  instances: [
    [null, "Instance", (row) => (row.is_here ? `${row.address} (this one)` : row.address)],
    [null, "Status", (row) => row.status],
    [null, "Auctions/s", (row) => format.whole(row.auctions_per_s)],
    [null, "Fill", (row) => format.part(row.fill, row.fill === null ? 0 : 1)],
    [null, "p50", (row) => format.us(row.p50_us)],
    [null, "p99", (row) => format.us(row.p99_us)],
    [null, "Version", (row) => row.version],
    [null, "Up for", (row) => format.time(row.uptime_s)],
  ],
};

const names = new Intl.DisplayNames("en", { type: "region" });
const country = (code) => el("span", {}, el("b", {}, code), " ", el("small", {}, names.of(code) ?? ""));

/** How many rows are shown at first: on a phone each is a card. */
const FEW = matchMedia("(max-width: 60rem)").matches ? 5 : 20;
const MANY = 200;

/** One table of the page. */
export class Table {
  #of;
  #usual;
  #view;
  #context = { sums: {}, bounds: [] };
  #body = el("tbody");
  #headings = [];
  #more = el("button", { type: "button", className: "more", textContent: "Show more", hidden: true });
  #asking = false;

  constructor(of, usual = null) {
    this.#of = of;
    this.#usual = usual;
    this.#view = { sort: usual, filter: "", limit: FEW };
    const title = document.getElementById(`${of}-title`).textContent;
    const head = COLUMNS[of].map(([sort, heading], i) => this.#heading(sort, heading, i));
    const table = el("table", {}, el("caption", { className: "unseen" }, title),
      el("thead", {}, el("tr", {}, ...head)), this.#body);
    // On a phone rows are laid out as cards, and what is no table to CSS must say that it is one.
    table.setAttribute("role", "table");
    document.getElementById(`${of}-table`).append(table);
    if (usual) {
      document.getElementById(`${of}-tools`).append(...this.#tools());
      this.#more.addEventListener("click", () => this.#change({ limit: MANY }));
      document.getElementById(`${of}-table`).append(this.#more);
    }
    this.#mark();
  }

  /** What the newest event says of it. */
  update(shown, context) {
    this.#context = context;
    if (this.#isUsual()) this.#show(shown);
    else this.#ask();
  }

  #isUsual() {
    return this.#view.sort === this.#usual && this.#view.filter === "" && this.#view.limit === FEW;
  }

  #heading(sort, heading, i) {
    const cell = el("th", { scope: "col", className: i ? "" : "first" });
    cell.setAttribute("role", "columnheader");
    if (sort && this.#usual) {
      const button = el("button", { type: "button", textContent: heading });
      button.addEventListener("click", () => this.#change({ sort }));
      this.#headings.push([sort, cell]);
      cell.append(button);
    } else {
      cell.append(heading);
    }
    return cell;
  }

  #tools() {
    const of = this.#of;
    const filter = el("input", { type: "search", placeholder: "Filter by id", ariaLabel: `Filter ${of} by id` });
    filter.addEventListener("input", () => this.#change({ filter: filter.value.trim() }));
    const sorts = COLUMNS[of].filter(([sort]) => sort);
    const options = sorts.map(([sort, heading]) => el("option", { value: sort, textContent: `By ${heading.toLowerCase()}` }));
    const list = el("select", { className: "sorts", ariaLabel: `Sort ${of}` }, ...options);
    list.value = this.#usual;
    list.addEventListener("change", () => this.#change({ sort: list.value }));
    return [list, filter];
  }

  #change(change) {
    Object.assign(this.#view, change);
    this.#mark();
    this.#ask();
  }

  #mark() {
    for (const [sort, cell] of this.#headings) {
      const order = sort === "id" ? "ascending" : "descending";
      cell.setAttribute("aria-sort", sort === this.#view.sort ? order : "none");
    }
    const list = document.querySelector(`#${this.#of}-tools select`);
    if (list) list.value = this.#view.sort;
  }

  async #ask() {
    if (this.#asking) return;
    this.#asking = true;
    const view = { ...this.#view };
    try {
      const answer = await fetch(`/dashboard/rows?${new URLSearchParams({ of: this.#of, ...view })}`);
      if (answer.ok) this.#show(await answer.json());
    } catch {
      // The stream says that the server is away; the next event asks again.
    } finally {
      this.#asking = false;
      const { sort, filter, limit } = this.#view;
      if (sort !== view.sort || filter !== view.filter || limit !== view.limit) this.#ask();
    }
  }

  #show({ total, matched, rows: all }) {
    const rows = all.slice(0, this.#view.limit);
    const context = { ...this.#context, rows };
    const columns = COLUMNS[this.#of];
    const cell = (row) => ([, heading, show], i) => {
      const data = el(i ? "td" : "th", { className: i ? "" : "first" }, show(row, context));
      data.setAttribute("role", i ? "cell" : "rowheader");
      if (i) data.dataset.label = heading;
      else data.scope = "row";
      return data;
    };
    this.#body.replaceChildren(...rows.map((row) => {
      const line = el("tr", {}, ...columns.map(cell(row)));
      line.setAttribute("role", "row");
      return line;
    }));
    if (this.#usual) this.#count(rows.length, matched, total);
  }

  #count(shown, matched, total) {
    const of = matched === total ? format.whole(total) : `${format.whole(matched)} that match, of ${format.whole(total)}`;
    const text = shown === total ? format.whole(total) : `${format.whole(shown)} of ${of}`;
    const count = document.getElementById(`${this.#of}-count`);
    if (count.textContent !== text) count.textContent = text;
    this.#more.hidden = shown >= matched || this.#view.limit === MANY;
  }
}
