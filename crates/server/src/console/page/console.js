// The console. What comes from the server is put into the page as text and as nothing else: `node` below makes elements of
// names written here, and texts of what it is given.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const COLOURS = 8;
const WINDOW_MS = 600_000;
const view = document.getElementById("view");
const state = { tab: "", timer: 0, paused: false, busy: false, again: false, series: new Map(), heard: new Map(), sort: {}, ranges: [""], open: new Set(), at: 0 };

function node(name, attributes, ...children) {
  const element = document.createElement(name);
  return fill(element, attributes, children);
}

function svg(name, attributes, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else element.setAttribute(key, String(value));
  }
  for (const child of children.flat()) if (child !== undefined && child !== null) element.append(child instanceof Node ? child : String(child));
  return element;
}

const NONE = "–";
const count = (n) => (n === null || n === undefined ? NONE : (Number.isInteger(n) || n > 100 ? Math.round(n) : Number(n.toFixed(1))).toLocaleString("en"));
function rate(n) {
  if (n === null || n === undefined) return NONE;
  if (n >= 100) return Math.round(n).toLocaleString("en");
  return n >= 10 ? n.toFixed(0) : n >= 0.05 ? n.toFixed(1) : "0";
}
function bytes(n) {
  if (n === null || n === undefined) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) { n /= 1024; at += 1; }
  return `${n >= 100 || at === 0 ? n.toFixed(0) : n.toFixed(1)} ${units[at]}`;
}
function ms(n) {
  if (n === null || n === undefined) return NONE;
  if (n < 1) return `${(n * 1000).toFixed(0)} µs`;
  if (n < 1000) return `${n < 10 ? n.toFixed(2) : n.toFixed(n < 100 ? 1 : 0)} ms`;
  return span(n);
}
function span(n) {
  if (n === null || n === undefined) return NONE;
  const s = n / 1000;
  if (s < 60) return `${s < 10 ? s.toFixed(1) : s.toFixed(0)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

async function read(path) {
  const response = await fetch(`/api/v1/${path}`, { cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (!response.ok) throw new Error(`${path.split("?")[0]}: ${response.status}`);
  return response.json();
}

// Tables: columns have a title, a value to sort by, and what is shown where that is not the value.
function table(id, columns, rows, empty) {
  if (rows.length === 0) return node("p", { class: "soft" }, empty);
  const sorted = state.sort[id];
  if (sorted) {
    const { get } = columns[sorted.column];
    const order = (a, b) => (a === null || a === undefined ? -1 : b === null || b === undefined ? 1 : a < b ? -1 : a > b ? 1 : 0);
    rows = [...rows].sort((a, b) => order(get(a), get(b)) * (sorted.falls ? -1 : 1));
  }
  const head = columns.map((column, at) => {
    const is = sorted && sorted.column === at ? (sorted.falls ? "descending" : "ascending") : "none";
    const sort = () => {
      const falls = sorted && sorted.column === at ? !sorted.falls : Boolean(column.number);
      state.sort[id] = { column: at, falls };
      refresh();
    };
    const press = (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); } };
    return node("th", { scope: "col", class: column.number && "number", "aria-sort": is, tabindex: 0, on: { click: sort, keydown: press } }, column.title);
  });
  const body = rows.map((row) => node("tr", {}, columns.map((column) => {
    const shown = column.show ? column.show(row) : column.get(row);
    const classes = [column.number && "number", column.wide && "wide", column.mark && column.mark(row)].filter(Boolean).join(" ");
    return node("td", { class: classes || null }, shown === null || shown === undefined || shown === "" ? NONE : shown);
  })));
  return node("div", { class: "scroll" }, node("table", { id }, node("thead", {}, node("tr", {}, head)), node("tbody", {}, body)));
}

function panel(title, ...children) {
  return node("section", { class: "panel" }, node("h2", {}, title), children);
}

function code(text, key) {
  const element = node("code", { class: state.open.has(key) && "open" }, text);
  element.addEventListener("click", () => {
    if (state.open.has(key)) state.open.delete(key); else state.open.add(key);
    element.classList.toggle("open");
  });
  return element;
}

function bar(share) {
  const level = share > 0.95 ? "bad" : share > 0.85 ? "warn" : "";
  return svg("svg", { class: "bar-cell", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "bar-back", width: 100, height: 8, rx: 2 }),
    svg("rect", { class: `bar ${level}`, width: Math.max(0, Math.min(1, share || 0)) * 100, height: 8, rx: 2 }));
}

// Plots. A curve has a name, a colour and points [time, value]; a point without a value breaks it.
function nice(top) {
  if (!(top > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(top));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= top);
}

function plot(title, curves, show) {
  const width = Math.max(280, Math.min(760, (view.clientWidth || 800) / Math.max(1, Math.floor((view.clientWidth || 800) / 400)) - 40));
  const height = 150;
  const [left, right, upper, lower] = [52, 6, 8, 18];
  const until = Math.max(state.at, ...curves.map((curve) => (curve.points.length ? curve.points.at(-1)[0] : 0)));
  // A node that has just started fills the plot all the same.
  const began = Math.min(until, ...curves.map((curve) => (curve.points.length ? curve.points[0][0] : until)));
  const shown = Math.min(WINDOW_MS, Math.max(2, Math.ceil((until - began) / 60_000)) * 60_000);
  const from = until - shown;
  const top = nice(Math.max(0, ...curves.flatMap((curve) => curve.points.filter(([at]) => at >= from).map(([, value]) => value || 0))));
  const x = (at) => left + ((at - from) / shown) * (width - left - right);
  const y = (value) => upper + (1 - value / top) * (height - upper - lower);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (const share of [0, 0.5, 1]) {
    drawing.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(top * share), y2: y(top * share) }),
      svg("text", { x: left - 6, y: y(top * share) + 4, "text-anchor": "end" }, show(top * share)));
  }
  for (const share of [1, 0.5, 0]) {
    const anchor = share === 1 ? "start" : share === 0 ? "end" : "middle";
    drawing.append(svg("text", { x: x(until - share * shown), y: height - 4, "text-anchor": anchor }, share ? `−${(share * shown) / 60_000} min` : "now"));
  }
  for (const curve of curves) {
    let path = "";
    let before = null;
    for (const [at, value] of curve.points) {
      if (at < from) continue;
      if (value === null || value === undefined) { before = null; continue; }
      path += `${before !== null && at - before < 6000 ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
      before = at;
    }
    if (path) drawing.append(svg("path", { class: `curve s${curve.colour % COLOURS}`, d: path }));
  }
  const legend = node("div", { class: "legend" });
  const tell = (at) => {
    const texts = curves.map((curve) => {
      let found = null;
      for (const point of curve.points) if (at === null || Math.abs(point[0] - at) < 3000 && (found === null || Math.abs(point[0] - at) < Math.abs(found[0] - at))) found = point;
      return node("span", {}, node("span", { class: `key b${curve.colour % COLOURS}` }), `${curve.name} ${show(found ? found[1] : null)}`);
    });
    legend.replaceChildren(...texts);
  };
  tell(null);
  const cursor = svg("line", { class: "cursor", y1: upper, y2: height - lower, visibility: "hidden" });
  drawing.append(cursor);
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width) * width;
    if (place < left) return;
    cursor.setAttribute("x1", place); cursor.setAttribute("x2", place); cursor.setAttribute("visibility", "visible");
    tell(from + ((place - left) / (width - left - right)) * shown);
  });
  drawing.addEventListener("pointerleave", () => { cursor.setAttribute("visibility", "hidden"); tell(null); });
  return node("section", { class: "panel plot" }, node("h2", {}, title), drawing, legend);
}

async function readSeries() {
  // Of the nodes in the last answer: one that is silent would hold all others back.
  const since = state.heard.size ? Math.min(...state.heard.values()) : 0;
  const answer = await read(`series?since=${since}`);
  state.heard = new Map();
  for (const { node: id, samples } of answer.series) {
    const known = state.series.get(id) || [];
    const last = known.length ? known.at(-1).at_ms : 0;
    // Of one that was silent more is lacking than this: the next answer has it all.
    if (last >= since) known.push(...samples.filter((sample) => sample.at_ms > last));
    if (known.length || samples.length) state.heard.set(id, known.length ? known.at(-1).at_ms : 0);
    while (known.length && known[0].at_ms < answer.at_ms - WINDOW_MS - 5000) known.shift();
    state.series.set(id, known);
  }
  for (const [id, samples] of state.series) if (samples.length === 0 || samples.at(-1).at_ms < answer.at_ms - WINDOW_MS) state.series.delete(id);
  state.at = answer.at_ms;
  return answer;
}

const ids = () => [...state.series.keys()].sort((a, b) => a - b);
const byNode = (get) => ids().map((id, at) => ({ name: `n${id}`, colour: at, points: state.series.get(id).map((sample) => [sample.at_ms, get(sample)]) }));
function summed(name, colour, get) {
  const sums = new Map();
  for (const samples of state.series.values()) {
    for (const sample of samples) {
      const second = Math.floor(sample.at_ms / 1000) * 1000;
      sums.set(second, (sums.get(second) || 0) + (get(sample) || 0));
    }
  }
  // In the last seconds not every node has been heard.
  const points = [...sums].sort((a, b) => a[0] - b[0]);
  return { name, colour, points: points.filter(([at]) => at < state.at - 2000) };
}
const newest = (get, merge) => {
  const values = [...state.series.values()].filter((samples) => samples.length && samples.at(-1).at_ms > state.at - 5000)
    .map((samples) => samples.slice(-3).map(get).filter((value) => value !== null && value !== undefined)).filter((values) => values.length)
    .map((values) => values.reduce((a, b) => a + b, 0) / values.length);
  return values.length ? values.reduce(merge) : null;
};
const sum = (a, b) => a + b;

function tile(name, figure, note, level) {
  return node("div", { class: `tile ${level || ""}` }, node("div", { class: "name" }, name), node("div", { class: "figure" }, figure), node("div", { class: "note" }, note || ""));
}

function queueTable(queues) {
  const names = [...new Set(queues.queues.flatMap((of) => of.queues.map((queue) => queue.queue)))];
  const rows = names.map((name) => {
    const all = queues.queues.flatMap((of) => of.queues.filter((queue) => queue.queue === name));
    const total = (field) => all.reduce((to, queue) => to + queue[field], 0);
    return { name, done: total("done"), failed: total("failed"), now: total("under_way") };
  });
  return table("queues", [
    { title: "Queue", get: (row) => row.name },
    { title: "Under way", number: true, get: (row) => row.now },
    { title: "Done", number: true, get: (row) => row.done, show: (row) => count(row.done) },
    { title: "Failed", number: true, get: (row) => row.failed, show: (row) => count(row.failed), mark: (row) => row.failed > 0 && "warn" },
  ], rows, "No queues.");
}

function underWay(queues) {
  const rows = queues.queues.flatMap((of) => of.under_way.map((work) => ({ node: of.node, ...work })));
  return table("under-way", [
    { title: "Work", get: (row) => row.queue },
    { title: "Range", number: true, get: (row) => row.range_id },
    { title: "Led by", number: true, get: (row) => row.node, show: (row) => `n${row.node}` },
    { title: "New replica on", number: true, get: (row) => row.to_store, show: (row) => (row.to_store ? `s${row.to_store}` : NONE) },
    { title: "For", number: true, get: (row) => row.for_ms, show: (row) => span(row.for_ms) },
  ], rows, "Nothing is being moved, split or tidied right now.");
}

const views = {
  async overview() {
    const [series, nodes, queues, locks] = await Promise.all([readSeries(), read("nodes"), read("queues"), read("locks")]);
    const live = nodes.nodes.filter((it) => it.live).length;
    const under = queues.under_replicated;
    const statements = newest((it) => it.statements, sum);
    const errors = newest((it) => it.errors, sum);
    const slowest = newest((it) => it.p99_ms, (a, b) => Math.max(a, b));
    const waiting = locks.waits.length;
    const disk = nodes.nodes.filter((it) => it.process && it.process.disk_total_bytes).map((it) => 1 - it.process.disk_free_bytes / it.process.disk_total_bytes);
    const fullest = disk.length ? Math.max(...disk) : null;
    const content = [
      node("div", { class: "tiles" },
        tile("Nodes live", `${live} of ${nodes.nodes.length}`, live < nodes.nodes.length ? "some are not heard from" : "", live < nodes.nodes.length && "bad"),
        tile("Under-replicated ranges", count(under), under ? "fewer healthy replicas than wanted" : "", under > 0 && "bad"),
        tile("Statements", `${rate(statements)} /s`, `${count(newest((it) => it.connections, sum))} sessions`),
        tile("Slowest of a hundred", ms(slowest), "p99, of the slowest node"),
        tile("Errors", `${rate(errors)} /s`, `${rate(newest((it) => it.restarts, sum))} /s run again`, errors > 0 && statements > 0 && errors > statements / 10 && "warn"),
        tile("Waiting for locks", count(waiting), waiting ? "see Locks" : "", waiting > 10 && "warn"),
        tile("Fullest disk", fullest === null ? NONE : `${(fullest * 100).toFixed(0)} %`, "", fullest > 0.95 ? "bad" : fullest > 0.85 && "warn"),
        tile("Processor", `${rate(newest((it) => it.cores_used, sum))} cores`, "used by all nodes")),
      node("div", { class: "plots" },
        plot("Statements a second", [summed("all", 7, (it) => it.statements), ...byNode((it) => it.statements)], rate),
        plot("Latency: median of each node", byNode((it) => it.p50_ms), ms),
        plot("Latency: p99 of each node", byNode((it) => it.p99_ms), ms),
        plot("Transactions a second", [summed("committed", 2, (it) => it.commits), summed("rolled back", 1, (it) => it.rollbacks), summed("run again", 3, (it) => it.restarts), summed("errors", 4, (it) => it.errors)], rate),
        plot("Replicas of each node", byNode((it) => it.replicas), count),
        plot("Leases of each node", byNode((it) => it.leases), count),
        plot("Under-replicated ranges, by leader", byNode((it) => it.under_replicated), count),
        plot("Waits for locks begun a second", byNode((it) => it.lock_waits), rate),
        plot("Processor: cores used", byNode((it) => it.cores_used), (n) => (n === null || n === undefined ? NONE : n.toFixed(2))),
        plot("Memory", byNode((it) => it.memory_bytes), bytes),
        plot("Syncs of the log a second", byNode((it) => it.log_syncs), rate),
        plot("Bytes to other nodes a second", byNode((it) => it.net_bytes), bytes)),
      panel("Replication and rebalancing", underWay(queues), queueTable(queues)),
    ];
    return [series, content];
  },

  async nodes() {
    const answer = await read("nodes");
    const process = (field) => (row) => (row.process ? row.process[field] : null);
    const status = (row) => (row.live ? (row.decommissioning ? "live, decommissioning" : row.answers ? "live" : "live, does not answer") : row.decommissioning ? "dead, decommissioning" : "dead");
    return [answer, [panel("Nodes", table("nodes", [
      { title: "Node", number: true, get: (row) => row.id, show: (row) => `n${row.id}` },
      { title: "Status", get: status, mark: (row) => (row.live && row.answers ? (row.decommissioning ? "warn" : "good") : "bad") },
      { title: "Addresses", get: (row) => row.sql_addr, show: (row) => [["SQL", row.sql_addr], ["nodes", row.rpc_addr], ["HTTP", row.http_addr]].map(([what, where]) => node("div", { class: "address" }, node("span", { class: "soft" }, `${what} `), where)) },
      { title: "Version", get: process("version") },
      { title: "Up", number: true, get: process("uptime_ms"), show: (row) => span(process("uptime_ms")(row)) },
      { title: "Sessions", number: true, get: process("connections") },
      { title: "Replicas", number: true, get: (row) => row.replicas, show: (row) => count(row.replicas) },
      { title: "Leases", number: true, get: (row) => row.leases, show: (row) => count(row.leases) },
      { title: "Rows, about", number: true, get: (row) => row.bytes, show: (row) => bytes(row.bytes) },
      { title: "Under-replicated", number: true, get: (row) => row.under_replicated, mark: (row) => row.live && row.under_replicated > 0 && "bad" },
      { title: "Fenced", number: true, get: process("fenced"), mark: (row) => process("fenced")(row) > 0 && "bad" },
      { title: "Processor", mark: () => "bars", get: process("cores_used"), show: (row) => row.process && [bar(row.process.cores_used / row.process.cores), `${row.process.cores_used.toFixed(2)} of ${row.process.cores}`] },
      { title: "Memory", mark: () => "bars", get: process("memory_bytes"), show: (row) => row.process && [bar(row.process.memory_bytes / row.process.memory_total_bytes), bytes(row.process.memory_bytes)] },
      { title: "Disk free", mark: () => "bars", get: process("disk_free_bytes"), show: (row) => row.process && [bar(1 - row.process.disk_free_bytes / row.process.disk_total_bytes), bytes(row.process.disk_free_bytes)] },
      { title: "Store", number: true, get: process("store_bytes"), show: (row) => bytes(process("store_bytes")(row)) },
    ], answer.nodes, "No nodes."))]];
  },

  async ranges() {
    const from = state.ranges.at(-1);
    const [answer, queues] = await Promise.all([read(`ranges?limit=100${from ? `&from=${from}` : ""}`), read("queues")]);
    const level = (row) => (row.leaseholder === null ? "bad" : row.healthy !== null && row.healthy < row.wanted ? "bad" : "");
    const health = (row) => (row.leaseholder === null ? "no leader" : row.healthy === null ? "not known yet" : row.healthy < row.wanted ? `${row.healthy} of ${row.wanted} healthy` : "healthy");
    const replicas = (row) => row.replicas.map((it) => `n${it.node}${it.learner ? " (learner)" : ""}`).join(", ");
    const step = (change) => { change(); refresh(); };
    const pages = node("div", { class: "row" },
      state.ranges.length > 1 && node("button", { type: "button", on: { click: () => step(() => state.ranges.pop()) } }, "Back") || null,
      answer.next && node("button", { type: "button", on: { click: () => step(() => state.ranges.push(answer.next)) } }, "Next 100") || null);
    return [answer, [
      panel("Ranges", table("ranges", [
        { title: "Range", number: true, get: (row) => row.id },
        { title: "From", wide: true, get: (row) => row.start, show: (row) => code(row.start, `s${row.id}`) },
        { title: "To", wide: true, get: (row) => row.end, show: (row) => code(row.end, `e${row.id}`) },
        { title: "Health", get: health, mark: (row) => level(row) || "good" },
        { title: "Replicas", get: replicas },
        { title: "Leaseholder", get: (row) => row.leaseholder, show: (row) => (row.leaseholder === null ? NONE : `n${row.leaseholder}`) },
        { title: "Size", number: true, get: (row) => row.bytes, show: (row) => bytes(row.bytes) },
        { title: "Batches /s", number: true, get: (row) => row.batches_per_second, show: (row) => rate(row.batches_per_second) },
      ], answer.ranges, "No ranges are known."), pages),
      panel("Replication and rebalancing", underWay(queues), queueTable(queues)),
    ]];
  },

  async statements() {
    const answer = await read("statements?limit=200");
    return [answer, [panel("Statements, without their literals: since each node's start, or the last pg_stat_statements_reset()", table("statements", [
      { title: "Statement", wide: true, get: (row) => row.query, show: (row) => code(row.query, row.query_id + row.user) },
      { title: "Calls", number: true, get: (row) => row.calls, show: (row) => count(row.calls) },
      { title: "Total", number: true, get: (row) => row.total_ms, show: (row) => ms(row.total_ms) },
      { title: "Mean", number: true, get: (row) => row.mean_ms, show: (row) => ms(row.mean_ms) },
      { title: "p99", number: true, get: (row) => row.p99_ms, show: (row) => ms(row.p99_ms) },
      { title: "Max", number: true, get: (row) => row.max_ms, show: (row) => ms(row.max_ms) },
      { title: "Rows", number: true, get: (row) => row.rows, show: (row) => count(row.rows) },
      { title: "Errors", number: true, get: (row) => row.errors, show: (row) => count(row.errors), mark: (row) => row.errors > 0 && "warn" },
      { title: "User", get: (row) => row.user },
      { title: "Database", get: (row) => row.database },
      { title: "Nodes", get: (row) => row.nodes.map((id) => `n${id}`).join(", ") },
    ], answer.statements, "Nothing was run yet."))]];
  },

  async sessions() {
    const answer = await read("sessions");
    return [answer, [panel("Sessions", table("sessions", [
      { title: "Node", number: true, get: (row) => row.node, show: (row) => `n${row.node}` },
      { title: "PID", number: true, get: (row) => row.pid },
      { title: "User", get: (row) => row.user },
      { title: "Database", get: (row) => row.database },
      { title: "Application", get: (row) => row.application },
      { title: "Client", get: (row) => row.client },
      { title: "State", get: (row) => row.state, mark: (row) => (row.state.startsWith("idle in") && row.state_for_ms > 60000 ? "warn" : row.state === "active" ? "good" : "") },
      { title: "For", number: true, get: (row) => row.state_for_ms, show: (row) => span(row.state_for_ms) },
      { title: "In transaction", number: true, get: (row) => row.transaction_for_ms, show: (row) => span(row.transaction_for_ms), mark: (row) => row.transaction_for_ms > 300000 && "warn" },
      { title: "Statement", wide: true, get: (row) => row.query, show: (row) => code(row.query, `q${row.node}/${row.pid}`) },
      { title: "Connected", number: true, get: (row) => row.connected_ms, show: (row) => span(row.connected_ms) },
    ], answer.sessions, "No client is connected."))]];
  },

  async locks() {
    const answer = await read("locks");
    const who = (it) => (it === null ? NONE : it.pid === undefined ? (it.txn ? `transaction ${it.txn.slice(0, 8)}` : "a read") : `n${it.node}/${it.pid} ${it.user}${it.application ? ` (${it.application})` : ""}`);
    const behind = new Map();
    const waiters = new Set();
    const known = new Map();
    for (const wait of answer.waits) {
      if (wait.waiter.txn) { waiters.add(wait.waiter.txn); known.set(wait.waiter.txn, wait.waiter); }
      if (!wait.behind) continue;
      known.set(wait.behind.txn, wait.behind);
      behind.set(wait.behind.txn, [...(behind.get(wait.behind.txn) || []), wait]);
    }
    const roots = [...behind.keys()].filter((txn) => !waiters.has(txn));
    const branch = (txn, wait, seen) => node("li", {},
      node("strong", {}, who(known.get(txn) || { txn })),
      wait ? node("span", { class: "soft" }, ` wants ${wait.strength || "to read"} of `, node("code", {}, wait.key)) : node("span", { class: "soft" }, ` ${(known.get(txn) || {}).state || ""}`),
      (known.get(txn) || {}).query ? node("div", {}, node("code", { class: "soft" }, known.get(txn).query)) : null,
      behind.has(txn) && !seen.has(txn) ? node("ul", {}, behind.get(txn).map((next) => (next.waiter.txn ? branch(next.waiter.txn, next, new Set([...seen, txn])) : node("li", {}, "a read of ", node("code", {}, next.key))))) : null);
    return [answer, [
      panel("Who waits for whom", roots.length ? node("div", { class: "tree" }, node("ul", { id: "waits-tree" }, roots.map((txn) => branch(txn, null, new Set())))) : node("p", { class: "soft" }, answer.waits.length ? "All that wait, wait for one another." : "No session waits for another.")),
      panel("Waits", table("waits", [
        { title: "Waiter", get: (row) => who(row.waiter) },
        { title: "Waits for", get: (row) => (row.behind ? who(row.behind) : "its turn") },
        { title: "Key", wide: true, get: (row) => row.key, show: (row) => code(row.key, row.key) },
        { title: "Wants", get: (row) => row.strength || "to read" },
        { title: "For", number: true, get: (row) => row.waiter.statement_for_ms, show: (row) => span(row.waiter.statement_for_ms), mark: (row) => row.waiter.statement_for_ms > 10000 && "bad" },
        { title: "Range", number: true, get: (row) => row.range },
      ], answer.waits, "Nothing waits.")),
      panel(`Held: ${count(answer.held.length)} of ${count(answer.keys)} keys that ranges know to be locked`, table("held", [
        { title: "Holder", get: (row) => who(row.holder) },
        { title: "State", get: (row) => row.holder.state },
        { title: "In transaction", number: true, get: (row) => row.holder.transaction_for_ms, show: (row) => span(row.holder.transaction_for_ms) },
        { title: "Key", wide: true, get: (row) => row.key, show: (row) => code(row.key, `h${row.key}`) },
        { title: "Holds", get: (row) => row.strength },
        { title: "Range", number: true, get: (row) => row.range },
      ], answer.held, "Nothing is locked.")),
    ]];
  },

  async jobs() {
    const [answer, queues] = await Promise.all([read("jobs"), read("queues")]);
    return [answer, [
      panel("Jobs", table("jobs", [
        { title: "Kind", get: (row) => row.kind },
        { title: "What", wide: true, get: (row) => row.what, show: (row) => code(row.what, row.what) },
        { title: "Node", number: true, get: (row) => row.node, show: (row) => `n${row.node}` },
        { title: "PID", number: true, get: (row) => row.pid },
        { title: "For", number: true, get: (row) => row.for_ms, show: (row) => span(row.for_ms) },
        { title: "Left", get: (row) => row.left },
      ], answer.jobs, "Nothing that takes long is running.")),
      panel("Queues", queueTable(queues)),
    ]];
  },
};

function trouble(text, isBad) {
  const element = document.getElementById("trouble");
  element.hidden = !text;
  element.textContent = text;
  element.classList.toggle("bad", Boolean(isBad));
}

async function refresh() {
  clearTimeout(state.timer);
  if (state.busy) { state.again = true; return; }
  state.busy = true;
  const tab = state.tab;
  try {
    const [answer, content] = await views[tab]();
    if (tab === state.tab) {
      const scrolls = [...view.querySelectorAll(".scroll")].map((element) => element.scrollLeft);
      view.replaceChildren(...content);
      [...view.querySelectorAll(".scroll")].forEach((element, at) => { element.scrollLeft = scrolls[at] || 0; });
      view.dataset.tab = tab;
      view.dataset.looks = String(Number(view.dataset.looks || 0) + 1);
      document.getElementById("where").textContent = `as node n${answer.node} sees it, ${new Date(answer.at_ms).toLocaleTimeString()}, cluster ${answer.cluster.slice(0, 8)}`;
      trouble(answer.silent.length ? `No answer from ${answer.silent.map((id) => `n${id}`).join(", ")}: what they know is missing here.` : "");
    }
  } catch (error) {
    trouble(`This node does not answer (${error.message}). What is shown is from before.`, true);
  } finally {
    state.busy = false;
  }
  if (state.again) { state.again = false; refresh(); return; }
  if (!state.paused && !document.hidden) state.timer = setTimeout(refresh, Number(document.getElementById("every").value) * 1000);
}

function open() {
  const tab = location.hash.slice(1);
  state.tab = Object.hasOwn(views, tab) ? tab : "overview";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${state.tab}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  document.title = `${state.tab[0].toUpperCase()}${state.tab.slice(1)} · Quorate`;
  refresh();
}

document.getElementById("pause").addEventListener("click", (event) => {
  state.paused = !state.paused;
  event.currentTarget.setAttribute("aria-pressed", String(state.paused));
  event.currentTarget.textContent = state.paused ? "Go on" : "Pause";
  if (state.paused) clearTimeout(state.timer); else refresh();
});
document.getElementById("every").addEventListener("change", () => { if (!state.paused) refresh(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && !state.paused) refresh(); });
window.addEventListener("hashchange", open);
open();
