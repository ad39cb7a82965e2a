// The page's life: unpack, fill, listen. Everything that comes from the data goes in as text, never as HTML.

const PAGE = 50;
const byId = (id) => document.getElementById(id);
const state = { text: "", action: "", kind: "", sort: "high", descending: true, page: 0, server: null };
let fleet = null;
let chosen = [];
let charts = false; // whether the chart library is there
let waiting = false;

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function actionWord(server) {
  const action = fleet.actions[fleet.action[server]];
  const more = fleet.missing[server] ? ` (+${fleet.missing[server].toLocaleString("en")})` : "";
  return (fleet.actionWords[action] ?? action) + more;
}

function reasonWord(server) {
  const reason = fleet.reasons[fleet.reason[server]];
  return fleet.reasonWords[reason] ?? reason;
}

function percent(share) {
  return Number.isNaN(share) ? "–" : `${Math.round(100 * share)} %`;
}

// Letters and numbers beside the colours: "L 40 M 6 H 2".
function hoursOf(server) {
  const cell = element("td", undefined, "hours");
  LETTERS.forEach((letter, kind) => {
    const number = fleet.counts[server * fleet.kinds + kind];
    if (number) cell.append(element("span", `${letter} ${number}`, `hour ${["low", "medium", "high", "unknown"][kind]}`), " ");
  });
  return cell;
}

function planRow(server) {
  const row = element("tr");
  const head = element("th");
  head.scope = "row";
  const button = element("button", fleet.servers[server], "link");
  button.type = "button";
  button.addEventListener("click", () => show(server));
  head.append(button);
  const machine = fleet.machine[server];
  row.append(
    head,
    element("td", actionWord(server)),
    element("td", machine === server ? "its own" : fleet.servers[machine]),
    element("td", reasonWord(server)),
    element("td", percent(fleet.confidence[server]), "number"),
    element("td", loadWord(fleet.peak[server]), "number"),
    element("td", String(fleet.keys.high[server]), "number"),
    hoursOf(server),
  );
  return row;
}

function refresh() {
  chosen = choose(fleet, state);
  const pages = Math.max(Math.ceil(chosen.length / PAGE), 1);
  state.page = Math.min(state.page, pages - 1);
  const shown = chosen.slice(state.page * PAGE, (state.page + 1) * PAGE);
  byId("plan").tBodies[0].replaceChildren(...shown.map(planRow));
  for (const head of document.querySelectorAll("#plan th[data-sort]")) {
    if (head.dataset.sort === state.sort) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  byId("sort").value = state.sort;
  byId("order").textContent = state.descending ? "Descending" : "Ascending";
  byId("order").setAttribute("aria-pressed", String(state.descending));
  byId("previous").disabled = state.page === 0;
  byId("next").disabled = state.page >= pages - 1;
  const first = state.page * PAGE + 1;
  const number = chosen.length.toLocaleString("en");
  byId("shown").textContent = chosen.length
    ? `${first.toLocaleString("en")}–${(first + shown.length - 1).toLocaleString("en")} of ${number} servers`
    : "no server is like that";
  redraw();
}

// Charts follow in the next frame, once, however many keys were pressed meanwhile.
function redraw() {
  if (!charts || waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    drawMap(byId("map"), fleet, chosen.slice(state.page * PAGE, (state.page + 1) * PAGE), show).catch(fail);
    if (byId("server").open) drawServer(byId("load"), fleet, state.server).catch(fail);
  });
}

function show(server) {
  state.server = server;
  byId("server-name").textContent = fleet.servers[server];
  const machine = fleet.machine[server];
  const place = machine === server ? "" : ` onto ${fleet.servers[machine]}`;
  const peak = fleet.peakHour[server] === UNKNOWN_HOUR ? "" :
    ` Reckoned with: at most ${loadWord(fleet.peak[server])}, at ${hourWord(fleet, fleet.peakHour[server])} UTC.`;
  byId("server-plan").textContent =
    `Plan: ${actionWord(server)}${place}: ${reasonWord(server)} (${percent(fleet.confidence[server])}).${peak}`;
  const expected = loadsOf(fleet, "expected", server);
  const error = loadsOf(fleet, "error", server);
  byId("hours").tBodies[0].replaceChildren(...classesOf(fleet, server).map((kind, hour) => {
    const row = element("tr");
    const source = fleet.sources[fleet.answered[server * fleet.hours + hour]];
    row.append(
      element("td", hourWord(fleet, hour)),
      element("td", classWord(fleet, kind)),
      element("td", loadWord(expected[hour]), "number"),
      element("td", loadWord(error[hour]), "number"),
      element("td", fleet.sourceWords[source] ?? source),
    );
    return row;
  }));
  if (!byId("server").open) byId("server").showModal();
  redraw();
}

function change(wanted) {
  Object.assign(state, { page: 0 }, wanted);
  refresh();
}

function listen() {
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("text").addEventListener("input", (event) => change({ text: event.target.value }));
  byId("action").addEventListener("change", (event) => change({ action: event.target.value }));
  byId("class").addEventListener("change", (event) => change({ kind: event.target.value }));
  byId("sort").addEventListener("change", (event) => change({ sort: event.target.value, descending: event.target.value !== "name" }));
  byId("order").addEventListener("click", () => change({ descending: !state.descending }));
  byId("previous").addEventListener("click", () => change({ page: state.page - 1 }));
  byId("next").addEventListener("click", () => change({ page: state.page + 1 }));
  for (const head of document.querySelectorAll("#plan th[data-sort]")) {
    const sort = head.dataset.sort;
    head.firstElementChild.addEventListener("click", () =>
      change({ sort, descending: sort === state.sort ? !state.descending : sort !== "name" }));
  }
  for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", redraw);
  addEventListener("resize", redraw);
}

function offer() {
  fleet.actions.forEach((action, at) => byId("action").append(new Option(fleet.actionWords[action] ?? action, String(at))));
  [...fleet.classNames, "unknown"].forEach((name, kind) => {
    byId("class").append(new Option(`some ${name}`, String(kind)));
    byId("legend").append(element("span", `${LETTERS[kind]} ${name}`, `hour ${name}`), " ");
  });
}

function fail(problem) {
  byId("problem").textContent = `The report cannot be shown: ${problem.message}`;
  byId("problem").hidden = false;
}

function take(id) {
  const holder = byId(id);
  const text = holder.textContent;
  holder.remove(); // megabytes that nothing needs any more
  return text;
}

async function begin() {
  if (!("DecompressionStream" in window)) throw new Error("it needs a browser of 2023 or newer.");
  fleet = unpack(await inflate(take("data")));
  offer();
  listen();
  refresh(); // the table is there before the charts, whose library takes a while
  const library = document.createElement("script");
  library.textContent = new TextDecoder().decode(await inflate(take("library")));
  document.head.append(library);
  charts = true;
  redraw();
}

begin().catch(fail);
