/* Draws the report's curves. Runs in the browser; uPlot and the data are in the page before it. */
(() => {
  let data = JSON.parse(document.getElementById("data").textContent);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const smoothing = document.getElementById("smoothing");
  const logarithmic = document.getElementById("logarithmic");
  let plots = [];

  /** Exponential moving average with the start corrected, as Adam corrects its moments. */
  const smooth = (values, beta) => {
    let mean = 0;
    let weight = 0;
    return values.map((v) => {
      if (v === null) return null;
      mean = beta * mean + (1 - beta) * v;
      weight = beta * weight + 1 - beta;
      return mean / weight;
    });
  };

  const short = (v) => {
    if (v === null || v === undefined) return "–";
    const size = Math.abs(v);
    if (size !== 0 && (size < 1e-3 || size >= 1e6)) return v.toExponential(2);
    return size >= 1000 ? Math.round(v).toLocaleString("en") : String(Number(v.toPrecision(4)));
  };

  const charts = {
    loss: () => {
      const beta = Number(smoothing.value);
      const faint = beta > 0;
      const series = [
        { label: "loss", color: "--one", values: data.loss, faint },
        ...faint ? [{ label: "smoothed", color: "--one", values: smooth(data.loss, beta) }] : [],
      ];
      if (data.validation.some((v) => v !== null)) {
        series.push({ label: "validation", color: "--two", values: data.validation, points: true });
      }
      return { series, log: logarithmic.checked };
    },
    learning_rate: () => ({
      series: [{ label: "learning rate", color: "--three", values: data.learning_rate }],
    }),
    grad_norm: () => ({
      series: [{ label: "gradient norm", color: "--two", values: data.grad_norm }],
      log: logarithmic.checked,
    }),
    tokens_per_second: () => ({
      series: [{ label: "tokens/s", color: "--one", values: data.tokens_per_second }],
      fromZero: true,
    }),
  };

  const draw = () => {
    for (const plot of plots) plot.destroy();
    plots = Object.entries(charts).map(([id, describe]) => {
      const holder = document.getElementById(id);
      const { series, log, fromZero } = describe();
      const axis = {
        stroke: color("--faint"),
        grid: { stroke: color("--grid"), width: 1 },
        ticks: { stroke: color("--grid"), width: 1 },
      };
      const options = {
        width: holder.clientWidth,
        hooks: { draw: [(plot) => document.body.dataset.last = String(plot.scales.x.max)] },
        height: 260,
        cursor: { sync: { key: "run" } },
        scales: {
          x: { time: false },
          y: {
            distr: log ? 3 : 1,
            ...fromZero ? { range: (_, _low, high) => [0, (high || 1) * 1.1] } : {},
          },
        },
        axes: [
          { ...axis, values: (_, ticks) => ticks.map((t) => t === null ? "" : short(t)) },
          { ...axis, size: 64, values: (_, ticks) => ticks.map((t) => t === null ? "" : short(t)) },
        ],
        series: [
          { label: "step" },
          ...series.map((s) => ({
            label: s.label,
            stroke: color(s.color) + (s.faint ? "55" : ""),
            width: s.faint ? 1 : 2,
            spanGaps: true,
            points: { show: Boolean(s.points), size: 6, fill: color(s.color) },
            value: (_, v) => short(v),
          })),
        ],
      };
      return new uPlot(options, [data.step, ...series.map((s) => s.values)], holder);
    });
    document.body.dataset.charts = String(plots.length);
  };

  /** Shows other data; plots keep their zoom. */
  globalThis.showCurves = (fresh) => {
    const before = data.step;
    data = fresh;
    const all = Object.values(charts).map((describe) => describe().series);
    if (plots.some((plot, i) => plot.series.length !== all[i].length + 1)) return draw();
    plots.forEach((plot, i) => {
      const { min, max } = plot.scales.x;
      const zoomed = before.length > 1 && (min > before[0] || max < before.at(-1));
      plot.setData([data.step, ...all[i].map((s) => s.values)], !zoomed);
      if (zoomed) plot.redraw();
    });
  };

  draw();
  smoothing.addEventListener("input", draw);
  logarithmic.addEventListener("input", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let timer;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(draw, 100);
  });
})();
