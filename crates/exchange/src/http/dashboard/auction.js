// The form that holds an auction, and the auction told step by step.
//
// What is told is what the exchange has recorded: POST /auctions answers it, `bourse journal cat` shows the same.

import { el, format } from "./tables.js";

const form = document.getElementById("auction-form");
const steps = document.getElementById("auction-steps");
const said = document.getElementById("auction-said");

/** Ids to choose from; those shown are enough. */
export function known(id, rows) {
  const list = document.getElementById(id);
  const ids = rows.map((row) => row.id);
  if (ids.join("\n") !== [...list.children].map((option) => option.value).join("\n")) {
    list.replaceChildren(...ids.map((value) => el("option", { value })));
  }
  const field = form.elements.supply_id;
  if (id === "supply-ids" && field.value === "" && ids.length > 0 && document.activeElement !== field) {
    field.value = ids[0];
  }
}

/** An address of those set aside for documentation. */
function anotherAddress() {
  const [net] = crypto.getRandomValues(new Uint8Array(1));
  form.elements.ip.value = `${["192.0.2", "198.51.100", "203.0.113"][net % 3]}.${1 + net % 254}`;
}

const price = (usd) => {
  const text = usd.toFixed(6).replace(/0{1,4}$/, "");
  return `$${text}`;
};
const strong = (text) => el("strong", {}, text);

function step(title, ...content) {
  return el("li", {}, el("h3", {}, title), ...content);
}

const paragraph = (...content) => el("p", {}, ...content);

function limitStep(limit) {
  if (limit === null) return step("Rate limit", paragraph("None is set."));
  const who = { body: "the request's address", peer: "the caller's address", forwarded: "the address that the proxy names" };
  return step("Rate limit", paragraph(strong("Passed."), ` Of ${who[limit.key]} at most ${limit.requests} requests pass in `
    + `any ${limit.window_s} s${limit.shared ? ", over all instances" : ""}.`));
}

const REASONS = { other_country: (country) => `buy elsewhere than in ${country}` };

function invitationStep({ bidders, country }) {
  const asked = bidders.filter((bidder) => !bidder.not_invited);
  const reasons = Map.groupBy(bidders.filter((bidder) => bidder.not_invited), (bidder) => bidder.not_invited);
  const left = [...reasons].map(([reason, those]) => el("details", {},
    el("summary", {}, `${those.length} not invited: they ${REASONS[reason]?.(country) ?? reason.replaceAll("_", " ")}`),
    paragraph(those.map((bidder) => bidder.id).join(", "))));
  return step("Invitations", paragraph(strong(`${asked.length} of ${bidders.length}`), " bidders of the supply are asked, all at once."),
    ...left);
}

const ANSWERS = { bid: "bid", no_bid: "passed", timeout: "too late" };
const LOSSES = { 100: "below the floor", 102: "outbid" };

/** Everybody's answer on one time line, with what became of it. */
function answerStep({ bidders, tmax_ms: tmax }) {
  const asked = bidders.filter((bidder) => bidder.answer).sort((a, b) => a.latency_ms - b.latency_ms);
  if (asked.length === 0) return step("Answers", paragraph("Nobody was asked."));
  const end = tmax * 1.25;
  const row = ({ id, answer, latency_ms: ms, bids: [bid] = [] }) => {
    const bar = el("span", { className: "bar-line", ariaHidden: "true" }, el("i"));
    bar.style.setProperty("--part", Math.min(ms / end, 1));
    bar.style.setProperty("--tmax", tmax / end);
    const fate = bid ? (bid.fate === "won" ? "won" : LOSSES[bid.reason] ?? "lost") : ANSWERS[answer];
    const line = el("tr", { className: bid?.fate === "won" ? "won" : answer },
      el("th", { scope: "row" }, id), el("td", { className: "line-cell" }, bar), el("td", {}, format.ms(ms)),
      el("td", {}, bid ? price(bid.price) : "–"), el("td", { className: "fate" }, fate));
    return line;
  };
  const head = ["Bidder", `Time, up to tmax at ${tmax} ms`, "After", "Bid", "Fate"];
  return step("Answers", el("table", { className: "answers" },
    el("caption", { className: "unseen" }, "Answers in order of time"),
    el("thead", {}, el("tr", {}, ...head.map((heading) => el("th", { scope: "col" }, heading)))),
    el("tbody", {}, ...asked.map(row))));
}

const RULES = { first_price: "First price", second_price: "Second price" };

function clearingStep(auction) {
  const { rule, bid_floor: floor, outcome, winner, price: paid, price_from: from, runner_up: beaten } = auction;
  const terms = `${RULES[rule] ?? rule}, ${floor > 0 ? `floor ${price(floor)}` : "no floor"}.`;
  if (outcome !== "sold") {
    const why = { no_eligible_bidders: "Nobody could be asked.", no_bids: "Everybody passed or was too late.",
      below_floor: "Every bid was below the floor." };
    return step("Clearing", paragraph(terms), paragraph(strong("Not sold. "), why[outcome] ?? outcome));
  }
  const bid = auction.bidders.find((bidder) => bidder.id === winner).bids[0].price;
  const equal = beaten === bid ? " Another bid was as high; the auction's own chance chose." : "";
  const because = {
    own_bid: rule === "first_price" ? "the winner pays what it bid" : "never over its own bid",
    runner_up: `one cent over the runner-up's ${price(beaten ?? 0)}`,
    floor: "the floor, which is higher than a cent over any other bid",
    cent: "one cent, because nobody else bid and there is no floor",
  };
  return step("Clearing", paragraph(terms, ` The highest bid is ${price(bid)}, of `, strong(winner), `.${equal}`),
    paragraph(el("span", { className: "price" }, price(paid)), ` ${because[from] ?? from}.`));
}

/** `text` is the same as it came: a price that was parsed is not written as it was. */
function told({ rate_limit: limit, auction, answer }, text) {
  const answered = text.slice(text.lastIndexOf('"body":') + '"body":'.length, -2);
  return [
    step("Request", paragraph(strong(auction.supply), ` in ${auction.country}, for ${auction.ip} (cut, as it is recorded), `
      + `with ${auction.tmax_ms} ms to answer.`)),
    limitStep(limit),
    invitationStep(auction),
    answerStep(auction),
    clearingStep(auction),
    step("Recorded and answered",
      paragraph("In the journal and in the counters before the answer left:"),
      el("pre", {}, el("code", {}, `${answer.status} ${answered}`)),
      paragraph(el("code", {}, `bourse journal cat --auction ${auction.auction}`))),
  ];
}

/** What was refused before an auction was held. */
function refused(problem, request) {
  const asked = step("Request", paragraph(strong(request.supply_id), ` in ${request.country}, for ${request.ip}, with ${request.tmax} ms to answer.`));
  const title = problem.code === "rate_limited" ? "Rate limit" : "Refused";
  const stop = step(title, paragraph(strong(`${problem.title}. `), problem.detail, "."),
    paragraph(el("code", {}, `${problem.status} ${problem.code}`)));
  stop.className = "refused";
  return [asked, stop];
}

async function hold() {
  const fields = Object.fromEntries(new FormData(form));
  const request = { ...fields, tmax: Number(fields.tmax) };
  const answer = await fetch("/auctions", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(request),
  });
  const text = await answer.text();
  const body = JSON.parse(text);
  steps.replaceChildren(...(answer.ok ? told(body, text) : refused(body, request)));
  steps.hidden = false;
  if (!answer.ok) return `Refused: ${body.detail}`;
  const { outcome, winner, price: paid } = body.auction;
  return outcome === "sold" ? `${winner} wins and pays ${price(paid)}.` : `Not sold: ${outcome.replaceAll("_", " ")}.`;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector(".primary");
  button.disabled = true;
  said.textContent = "";
  try {
    said.textContent = await hold();
    steps.focus({ preventScroll: true });
  } catch {
    said.textContent = "The exchange cannot be reached.";
  } finally {
    button.disabled = false;
  }
});
document.getElementById("auction-address").addEventListener("click", anotherAddress);
anotherAddress();
