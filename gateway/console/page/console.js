// The console: what the admin API says, shown; decisions sent to it. It keeps nothing and loads nothing from elsewhere.
// Whatever comes from outside is put in as text, never as markup.

const EVERY_MS = 5000;
const POINTS = 120; // ten minutes
const SHOWN_MEMBERS = 500;
const LEVELS = ["confirmed", "suspect", "watch", "none"];
const VERBS = {
  confirm: ["confirmed", "It is a campaign"],
  dismiss: ["dismissed", "The verdict is wrong"],
  exempt: ["exempted", "These accounts may do this"],
  release: ["released", "Let the analysis decide again"],
};

const $ = (id) => document.getElementById(id);
const number = (value) => Number(value).toLocaleString("en-GB", { maximumFractionDigits: 1 });
const when = (text) => (text ? text.replace("T", " ").replace(/:\d\dZ$/, "") : "–");

// An element with attributes, listeners (functions) and children; texts become text nodes.
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const cell = (content, kind) => make("td", kind ? { class: kind } : {}, content);

function rows(table, found) {
  table.tBodies[0].replaceChildren(...found);
  table.hidden = found.length === 0;
}

async function call(path, body) {
  const options = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  throw new Error(told?.error?.message ?? `the gateway answered ${answer.status}`);
}

const ask = async (path, body) => (await call(path, body)).json();

// Prometheus' text format: [name, {label: value}, value] of each sample.
function samples(text) {
  const found = [];
  for (const line of text.split("\n")) {
    const parts = /^([a-z_]+)(?:\{(.*)\})? ([^ ]+)$/.exec(line);
    if (!parts) continue;
    const labels = {};
    for (const [, name, value] of (parts[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name] = value.replace(/\\(.)/g, (_, one) => (one === "n" ? "\n" : one));
    }
    found.push([parts[1], labels, Number(parts[3])]);
  }
  return found;
}

const points = []; // {answered, refused, other} requests a minute
let before = null;

function counted(found) {
  const sums = { at: performance.now(), answered: 0, refused: 0, other: 0, tokens: 0, cost: 0, marked: 0, active: 0 };
  for (const [name, labels, value] of found) {
    if (name === "distillguard_requests_total") sums[labels.outcome in sums ? labels.outcome : "other"] += value;
    if (name === "distillguard_tokens_total" && labels.direction === "output") sums.tokens += value;
    if (name === "distillguard_cost_usd_total") sums.cost += value;
    if (name === "distillguard_marked_replies_total") sums.marked += value;
    if (name === "distillguard_active_requests") sums.active += value;
  }
  return sums;
}

function drawTraffic(found) {
  const now = counted(found);
  if (before) {
    const perMinute = 60000 / (now.at - before.at);
    const rate = (name) => Math.max(0, now[name] - before[name]) * perMinute; // a restarted gateway counts from 0
    points.push({ answered: rate("answered"), refused: rate("refused"), other: rate("other"), tokens: rate("tokens") });
    points.splice(0, points.length - POINTS);
  }
  before = now;
  const last = points.at(-1);
  const tiles = [
    [last ? number(last.answered) : "…", "answered a minute"],
    [last ? number(last.refused) : "…", "refused a minute"],
    [last ? number(last.tokens) : "…", "output tokens a minute"],
    [number(now.active), "open now"],
    [number(now.marked), "marked replies in all"],
    ["$" + now.cost.toFixed(2), "settled in all"],
  ];
  $("tiles").replaceChildren(...tiles.map(([value, name]) => make("div", {}, value, make("span", {}, name))));
  drawChart();
  const refused = found.filter(([name, , value]) => name === "distillguard_refusals_total" && value > 0);
  refused.sort((one, other) => other[2] - one[2]);
  rows($("refusals"), refused.slice(0, 6).map(([, labels, value]) =>
    make("tr", {}, cell(labels.rule || "–"), cell(labels.kind), cell(number(value), "n"))));
}

function drawChart() {
  const most = Math.max(1, ...points.map((point) => point.answered + point.refused + point.other));
  const width = 600 / POINTS;
  const bars = [];
  points.forEach((point, index) => {
    let top = 110;
    for (const kind of ["answered", "refused", "other"]) {
      const height = (point[kind] / most) * 105;
      top -= height;
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const place = { class: kind, x: 600 - (points.length - index) * width, y: top, width: width * 0.8, height };
      for (const [name, value] of Object.entries(place)) bar.setAttribute(name, value);
      bars.push(bar);
    }
  });
  $("chart").replaceChildren(...bars);
}

function drawState(status) {
  const bad = status.reasons.length > 0;
  $("state").className = bad ? "bad" : "";
  $("state").textContent = bad ? `not ready: ${status.reasons.join("; ")}` : "ready";
  const parts = [
    `version ${status.version}`,
    `policy set ${status.policy.hash.slice(0, 12)}`,
    status.policy.error ? `policy files with mistakes are not taken over: ${status.policy.error}` : null,
    `budgets in ${status.budgets.store}, ${status.budgets.open_reservations} reservations open`,
    `analysis ${status.analysis.state}`,
  ];
  $("foot").textContent = parts.filter(Boolean).join(" · ");
}

const level = (name) => make("span", { class: `level ${name}` }, name);

function drawClusters(found) {
  $("no-clusters").hidden = found.length > 0;
  found.sort((one, other) => LEVELS.indexOf(one.level) - LEVELS.indexOf(other.level) || other.accounts - one.accounts);
  rows($("clusters"), found.map((one) => {
    const name = make("a", { href: `#${encodeURIComponent(one.cluster)}` }, one.cluster);
    const decided = one.override ? ` ${VERBS[one.override.verb]?.[0]} by ${one.override.who}` : "";
    return make("tr", {}, cell(name), make("td", {}, level(one.level), decided), cell(number(one.accounts), "n"),
      cell(one.reasons.join(" · ")), cell(when(one.expires_at), "when"));
  }));
}

const word = (value) => (typeof value === "number" ? number(value) : Array.isArray(value) ? value.join("; ") : String(value));
const words = (item) => Object.entries(item).map(([name, value]) => `${name.replaceAll("_", " ")} ${word(value)}`).join(", ");

async function showCluster(id) {
  const place = $("cluster");
  place.hidden = !id;
  if (!id) return;
  try {
    const one = await ask(`api/clusters/${encodeURIComponent(id)}`);
    const more = one.members.length - SHOWN_MEMBERS;
    place.replaceChildren(
      make("h3", { class: "title" }, `Cluster ${one.cluster} `, level(one.level)),
      make("p", { class: "quiet" }, `The analysis said ${one.verdict} at ${when(one.decided_at)} UTC; it holds until ${when(one.expires_at)}.`,
        one.replaced_by ? ` It was merged into ${one.replaced_by}.` : ""),
      make("h3", {}, "Evidence"),
      make("ul", {}, ...one.reasons.map((line) => make("li", {}, line)), ...one.evidence.map((item) => make("li", {}, words(item)))),
      make("h3", {}, `${number(one.members.length)} accounts`),
      make("ul", { class: "members" }, ...one.members.slice(0, SHOWN_MEMBERS).map((name) => make("li", {}, name))),
      ...(more > 0 ? [make("p", { class: "quiet" }, `and ${number(more)} more`)] : []),
      make("h3", {}, "Decide"),
      decisionForm(one.cluster),
    );
    place.scrollIntoView({ block: "nearest" });
  } catch (error) {
    place.replaceChildren(make("p", { class: "error" }, error.message));
  }
}

function decisionForm(id) {
  const told = make("p", { class: "quiet", role: "status" }, "Kept for ever in the audit log, with your name.");
  const who = make("input", { name: "who", required: "", maxlength: 200 });
  const why = make("input", { name: "why", required: "", maxlength: 2000 });
  const until = make("input", { name: "until", type: "datetime-local" });
  const buttons = Object.entries(VERBS).map(([verb, [, title]]) => make("button", { value: verb, title }, verb));
  const decide = async (event) => {
    event.preventDefault();
    const verb = event.submitter.value;
    const body = { who: who.value, why: why.value };
    if (until.value) body.until = `${until.value}:00Z`;
    try {
      await ask(`api/clusters/${encodeURIComponent(id)}/${verb}`, body);
      await refresh();
      await showCluster(id);
    } catch (error) {
      told.className = "error";
      told.textContent = error.message;
    }
  };
  return make("form", { submit: decide }, make("label", {}, "your name", who), make("label", {}, "why", why),
    make("label", {}, "until (UTC; empty: for ever)", until), ...buttons, told);
}

function drawAudit(found) {
  $("no-audit").hidden = found.length > 0;
  rows($("audit"), found.map((one) => make("tr", {}, cell(when(one.at), "when"), cell(VERBS[one.verb]?.[0] ?? one.verb),
    cell(`${one.kind} ${one.subject}`), cell(one.who), cell(one.why), cell(one.until ? when(one.until) : "for ever", "when"))));
}

function drawBudgets(charges) {
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...["budget", "limit", "spent", "left", "this needs"]
    .map((name) => make("th", {}, name)))), make("tbody"));
  const share = (one) => 1 - one.remaining / one.amount;
  const shown = (one, steps) => (one.unit === "usd" ? `$${(steps / 1e6).toFixed(4)}` : number(steps));
  const asked = charges.filter((one) => typeof one.remaining === "number" && one.amount > 0);
  asked.sort((one, other) => share(other) - share(one)); // the nearest to its limit first
  rows(table, asked.map((one) => make("tr", {}, cell(one.budget + (one.shadow ? " (shadow)" : "")), cell(one.limit),
    cell(make("meter", { min: 0, max: 1, low: 0.7, high: 0.9, optimum: 0, value: share(one) })),
    cell(shown(one, one.remaining), "n"), cell(shown(one, one.needs), "n"))));
  return table;
}

function drawExplained(found) {
  const charges = found.explanation?.charges ?? [];
  const recorded = found.recorded && make("pre", {}, JSON.stringify(found.recorded, null, 1));
  $("explained").hidden = false;
  $("explained").replaceChildren(make("pre", {}, found.words || "Nothing was decided by policy."),
    ...(charges.length ? [drawBudgets(charges)] : []),
    ...(recorded ? [make("h3", {}, "As it was written down"), recorded] : []));
}

async function explain(asking) {
  try {
    drawExplained(await asking());
  } catch (error) {
    $("explained").hidden = false;
    $("explained").replaceChildren(make("p", { class: "error" }, error.message));
  }
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const given = new FormData(event.target);
  explain(() => ask("api/explain", { subject: { account: given.get("account") }, request: { model: given.get("model") } }));
});
$("past").addEventListener("submit", (event) => {
  event.preventDefault();
  explain(() => ask(`api/explain/${encodeURIComponent(new FormData(event.target).get("id"))}`));
});

const showChosen = () => showCluster(decodeURIComponent(location.hash.slice(1)));
addEventListener("hashchange", showChosen);

async function refresh() {
  try {
    const [status, metrics, clusters, audit] = await Promise.all([
      ask("api/status"), call("metrics").then((answer) => answer.text()), ask("api/clusters"), ask("api/audit?limit=50"),
    ]);
    drawState(status);
    const found = samples(metrics);
    drawTraffic(found);
    const models = new Set(found.filter(([name]) => name === "distillguard_tokens_total").map(([, labels]) => labels.model));
    $("models").replaceChildren(...[...models].map((value) => make("option", { value })));
    drawClusters(clusters.clusters);
    drawAudit(audit.audit);
  } catch (error) {
    $("state").className = "bad";
    $("state").textContent = `cannot ask the gateway: ${error.message}`;
  }
}

async function forEver() {
  if (!document.hidden) await refresh();
  setTimeout(forEver, EVERY_MS);
}
forEver();
showChosen();
