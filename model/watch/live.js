/* Keeps the live page up to date. Runs in the browser, after the report's charts.js. */
(() => {
  /** More points than this are fetched anew, thinned out by the server. */
  const MOST_POINTS = 6000;
  const place = (id) => document.getElementById(id);
  let columns = null;
  let steps = 0;
  let source = null;
  let state = "starting";

  const whole = (n) => Math.round(n).toLocaleString("en");
  const last = (values) => values.findLast((v) => v !== null);
  const duration = (s) => {
    if (s < 60) return `${Math.round(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    return s < 172800
      ? `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`
      : `${Math.round(s / 86400)} days`;
  };
  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const say = (text) => {
    place("status").textContent = text;
    document.body.dataset.status = text;
  };

  const showTiles = () => {
    const at = columns.step.at(-1) ?? 0;
    const validation = last(columns.validation);
    const rates = columns.tokens_per_second.filter((v) => v > 0).slice(-50);
    const rate = rates.reduce((a, b) => a + b, 0) / rates.length;
    const perStep = at ? columns.tokens.at(-1) / at : 0;
    const figures = [
      [`${whole(at)} / ${whole(steps)}`, "steps"],
      [last(columns.loss)?.toFixed(3), "loss, nats per token"],
      [validation?.toFixed(3), "validation loss"],
      [rate ? rate < 100 ? rate.toFixed(1) : whole(rate) : undefined, "tokens per second"],
      [last(columns.learning_rate)?.toExponential(2), "learning rate"],
      [rate && at < steps ? duration((steps - at) * perStep / rate) : undefined, "left"],
    ].filter(([value]) => value !== undefined);
    place("tiles").replaceChildren(...figures.map(([value, label]) => {
      const tile = element("div", undefined, "tile");
      tile.append(element("b", value), element("span", label));
      return tile;
    }));
    document.body.dataset.step = String(at);
  };

  const showSamples = (samples) => {
    if (!samples.length) return place("samples").replaceChildren();
    const newest = samples.toSorted((a, b) => b.step - a.step);
    const cards = newest.map(({ step, prompt, text, temperature }) => {
      const card = element("div", undefined, "card");
      const written = element("p", undefined, "sample");
      written.append(element("mark", prompt), text);
      const how = temperature ? `sampled at temperature ${temperature}` : "the likeliest tokens";
      card.append(written, element("p", `step ${whole(step)}, ${how}`, "faint"));
      return card;
    });
    const list = element("div", undefined, "charts");
    list.append(...cards);
    place("samples").replaceChildren(element("h2", "What the model wrote"), list);
  };

  const showStatus = (status) => {
    state = status.state;
    const name = state[0].toUpperCase() + state.slice(1);
    say(`${name}${state === "failed" ? ":" : ""} ${status.text}`.trim());
    if (state === "finished") source.close(); // there is nothing more to come
  };

  const connect = () => {
    source?.close();
    source = new EventSource("events");
    const on = (event, act) => source.addEventListener(event, (e) => act(JSON.parse(e.data)));
    on("everything", (all) => {
      ({ columns, steps } = all);
      place("subtitle").textContent = all.subtitle;
      showStatus(all.status);
      globalThis.showCurves(columns);
      showTiles();
      showSamples(all.samples);
    });
    on("steps", (fresh) => {
      columns = Object.fromEntries(
        Object.entries(columns).map(([key, values]) => [key, [...values, ...fresh[key]]]),
      );
      if (columns.step.length > MOST_POINTS) return connect();
      globalThis.showCurves(columns);
      showTiles();
    });
    on("samples", showSamples);
    on("status", showStatus);
    source.onerror = () => {
      if (state === "finished") return;
      // A run that was stopped may yet be resumed; what is said of it stays until then.
      if (state === "training" || state === "starting") say("Connection lost, trying again");
      // Browsers give up where the answer is an error.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
    };
  };
  connect();
})();
