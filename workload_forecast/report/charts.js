// The two charts. Colours come from the stylesheet, so that there is one place for light, dark and print.

const LETTERS = ["L", "M", "H", "?"];
const SYMBOLS = ["triangle-down", "circle", "triangle-up"];
const CONFIG = { displayModeBar: false, responsive: true };

// Narrower than this, a cell has no room for its letter, and an axis none for a long name.
const WIDE_PX = 860;

function colours() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: colour("text"), faint: colour("line"), muted: colour("muted"), band: colour("band"), line: colour("accent"),
    classes: ["low", "medium", "high"].map(colour),
  };
}

// The library reads some HTML in its texts; a server's name is none.
function plain(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function shortened(name, most) {
  return plain(name.length > most ? `${name.slice(0, most - 1)}…` : name);
}

function layoutOf(shades, more) {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: shades.text },
    dragmode: false,
    ...more,
  };
}

function axis(shades, more) {
  return {
    fixedrange: true, gridcolor: shades.faint, linecolor: shades.faint, zeroline: false, automargin: true, ...more,
  };
}

function drawMap(element, fleet, servers, open) {
  const shades = colours();
  const wide = element.clientWidth >= WIDE_PX;
  const kinds = servers.map((server) => classesOf(fleet, server));
  const hours = Array.from({ length: fleet.hours }, (_, hour) => hourWord(fleet, hour));
  const [low, medium, high] = shades.classes;
  const trace = {
    type: "heatmap", x: hours, y: servers.map((_, row) => row), zmin: -0.5, zmax: 2.5, showscale: false,
    z: kinds.map((row) => row.map((kind) => (kind < 3 ? kind : null))),
    colorscale: [[0, low], [1 / 3, low], [1 / 3, medium], [2 / 3, medium], [2 / 3, high], [1, high]],
    xgap: wide ? 1 : 0, ygap: 1, hoverongaps: true, hoverinfo: "text",
    hovertext: kinds.map((row, at) =>
      row.map((kind, hour) => `${shortened(fleet.servers[servers[at]], 60)}<br>${hours[hour]} UTC<br>${classWord(fleet, kind)}`)),
  };
  if (wide) {
    trace.text = kinds.map((row) => row.map((kind) => LETTERS[kind]));
    trace.texttemplate = "%{text}";
    trace.textfont = { size: 10 };
  }
  const rows = {
    tickmode: "array", tickvals: trace.y, ticktext: servers.map((server) => shortened(fleet.servers[server], wide ? 24 : 12)),
    range: [servers.length - 0.5, -0.5], showgrid: false, ticks: "",
  };
  const layout = layoutOf(shades, {
    height: 70 + 18 * Math.max(servers.length, 1), margin: { l: 8, r: 8, t: 44, b: 8 },
    xaxis: axis(shades, { type: "date", side: "top", showgrid: false, nticks: wide ? 16 : 4, tickformat: "%H:%M\n%a %d %b" }),
    yaxis: axis(shades, rows),
  });
  return Plotly.react(element, [trace], layout, CONFIG).then(() => {
    element.removeAllListeners("plotly_click");
    element.on("plotly_click", (event) => open(servers[event.points[0].y]));
  });
}

function drawServer(element, fleet, server) {
  const shades = colours();
  const before = Array.from({ length: fleet.historyHours }, (_, hour) => hourWord(fleet, hour - fleet.historyHours));
  const hours = Array.from({ length: fleet.hours }, (_, hour) => hourWord(fleet, hour));
  const expected = loadsOf(fleet, "expected", server);
  const error = loadsOf(fleet, "error", server);
  const kinds = classesOf(fleet, server);
  const edge = (sign) => expected.map((load, at) => (load === null ? null : Math.max(load + sign * (error[at] ?? 0), 0)));
  const line = { type: "scatter", mode: "lines", x: hours, hoverinfo: "skip", line: { width: 0 } };
  const traces = [
    { ...line, y: edge(1), showlegend: false },
    { ...line, y: edge(-1), fill: "tonexty", fillcolor: shades.band, name: "usual error" },
    { ...line, x: before, y: loadsOf(fleet, "history", server), name: "load so far", hoverinfo: "x+y", line: { color: shades.muted, width: 1.5 } },
    { ...line, y: expected, name: "expected load", hoverinfo: "x+y", line: { color: shades.line, width: 2, dash: "dot" } },
    ...fleet.classNames.map((name, kind) => ({
      type: "scatter", mode: "markers", x: hours, name, hovertemplate: `%{x}<br>${name}, %{y:.4g} expected<extra></extra>`,
      y: expected.map((load, hour) => (kinds[hour] === kind ? load : null)),
      marker: { symbol: SYMBOLS[kind], size: 8, color: shades.classes[kind], line: { width: 1, color: shades.text } },
    })),
  ];
  const border = (load, text) => ({
    shape: { type: "line", xref: "paper", x0: 0, x1: 1, y0: load, y1: load, line: { color: shades.text, width: 1, dash: "dash" } },
    note: { xref: "paper", x: 0, xanchor: "left", y: load, yanchor: "bottom", showarrow: false, text, font: { size: 11 } },
  });
  const borders = [border(fleet.low, "medium above"), border(fleet.high, "high above")];
  const layout = layoutOf(shades, {
    height: 380, margin: { l: 8, r: 8, t: 8, b: 8 }, shapes: borders.map((one) => one.shape), annotations: borders.map((one) => one.note),
    legend: { orientation: "h", traceorder: "normal", y: -0.18, yanchor: "top" },
    xaxis: axis(shades, { type: "date", nticks: element.clientWidth >= WIDE_PX ? 10 : 4 }),
    yaxis: axis(shades, { rangemode: "tozero", title: { text: "Load (peak of the hour)", standoff: 8 } }),
  });
  return Plotly.react(element, traces, layout, CONFIG);
}
