/* Draws a page's charts. Runs in the browser; uPlot and the data are in the page before it. */
(() => {
  const { charts, columns: first } = JSON.parse(document.getElementById("data").textContent);
  let data = first;
  const COLORS = ["--one", "--two", "--three", "--four", "--five", "--six"];
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colorOf = (series) => color(COLORS[series.color % COLORS.length]);
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

  /** What a place of the horizontal axis is called. */
  const nameOf = ({ x, bin }, v, last) => {
    if (v === null || v === undefined) return "–";
    if (x.plain) return String(v);
    if (!bin) return short(v);
    const from = short(v);
    return bin.open && v === last ? `${from} or more` : `${from} to ${short(v + bin.width - 1)}`;
  };

  /** The lines of a chart: those that are smoothed have two, those with an interval three. */
  const linesOf = (chart) =>
    chart.series.flatMap((series) => {
      const values = data[series.column] ?? [];
      if (series.optional && values.every((v) => v === null)) return [];
      const beta = series.smooth ? Number(smoothing?.value ?? 0) : 0;
      if (beta > 0) {
        const smoothed = {
          series,
          label: `${series.label}, smoothed`,
          values: smooth(values, beta),
        };
        return [{ series, label: series.label, values, faint: true }, smoothed];
      }
      const line = { series, label: series.label, values };
      if (!series.interval) return [line];
      const end = (column, label) => ({ series, label, values: data[column], hidden: true });
      return [
        line,
        end(series.interval.low, "95% from"),
        end(series.interval.high, "to"),
      ];
    });

  /** Draws the intervals of a chart over its lines. */
  const whiskers = (chart) => (plot) => {
    const { ctx } = plot;
    const xs = data[chart.x.column];
    for (const series of chart.series) {
      if (!series.interval) continue;
      ctx.save();
      ctx.strokeStyle = colorOf(series);
      ctx.lineWidth = 1.5 * devicePixelRatio;
      xs.forEach((x, i) => {
        const low = data[series.interval.low][i];
        const high = data[series.interval.high][i];
        if (low === null || high === null) return;
        const at = plot.valToPos(x, "x", true);
        const cap = 3 * devicePixelRatio;
        const [bottom, top] = [plot.valToPos(low, "y", true), plot.valToPos(high, "y", true)];
        ctx.beginPath();
        ctx.moveTo(at, bottom);
        ctx.lineTo(at, top);
        for (const y of [bottom, top]) {
          ctx.moveTo(at - cap, y);
          ctx.lineTo(at + cap, y);
        }
        ctx.stroke();
      });
      ctx.restore();
    }
  };

  const lineOptions = (chart) => ({ series, label, faint, hidden }) => {
    const stroke = hidden ? "transparent" : colorOf(series) + (faint ? "55" : "");
    const bars = series.bars && !hidden;
    return {
      label,
      stroke,
      width: hidden ? 0 : bars ? 0 : faint ? 1 : 2,
      spanGaps: true,
      ...bars
        ? {
          fill: colorOf(series),
          paths: uPlot.paths.bars({ size: [0.86, 64], align: chart.bin ? 1 : 0 }),
        }
        : {},
      points: { show: Boolean(series.points) && !hidden, size: 6, fill: colorOf(series) },
      value: (_, v) => short(v),
    };
  };

  /** The horizontal range: bars need room for the first and the last one. */
  const xRange = (chart) => {
    if (!chart.series.some((series) => series.bars)) return {};
    const { width } = chart.bin ?? { width: 1 };
    return {
      range: (_, low, high) => chart.bin ? [low, high + width] : [low - width, high + width],
    };
  };

  const draw = () => {
    for (const plot of plots) plot.destroy();
    plots = charts.map((chart) => {
      const holder = document.getElementById(chart.id);
      const lines = linesOf(chart);
      const { fromZero } = chart;
      const log = chart.logarithmic && logarithmic?.checked;
      const xs = data[chart.x.column];
      const axis = {
        stroke: color("--faint"),
        grid: { stroke: color("--grid"), width: 1 },
        ticks: { stroke: color("--grid"), width: 1 },
      };
      const options = {
        width: holder.clientWidth,
        hooks: {
          draw: [
            whiskers(chart),
            (plot) => document.body.dataset.last = String(plot.scales.x.max),
          ],
        },
        height: 260,
        cursor: { sync: { key: chart.x.column } },
        scales: {
          x: { time: false, ...xRange(chart) },
          y: {
            distr: log ? 3 : 1,
            ...fromZero ? { range: (_, _low, high) => [0, (high || 1) * 1.1] } : {},
          },
        },
        axes: [
          {
            ...axis,
            label: chart.x.label,
            labelSize: 18,
            size: 34,
            labelFont: "12px system-ui, sans-serif",
            ...chart.x.plain ? { incrs: [1, 2, 5, 10, 20, 50, 100] } : {},
            values: (_, ticks) =>
              ticks.map((t) => t === null ? "" : chart.x.plain ? String(t) : short(t)),
          },
          { ...axis, size: 64, values: (_, ticks) => ticks.map((t) => t === null ? "" : short(t)) },
        ],
        series: [
          { label: chart.x.label, value: (_, v) => nameOf(chart, v, data[chart.x.column].at(-1)) },
          ...lines.map(lineOptions(chart)),
        ],
      };
      return new uPlot(options, [xs, ...lines.map((line) => line.values)], holder);
    });
    document.body.dataset.charts = String(plots.length);
  };

  /** Shows other data; plots keep their zoom. */
  globalThis.showCurves = (fresh) => {
    const before = data;
    data = fresh;
    const all = charts.map(linesOf);
    if (plots.some((plot, i) => plot.series.length !== all[i].length + 1)) return draw();
    plots.forEach((plot, i) => {
      const { column } = charts[i].x;
      const { min, max } = plot.scales.x;
      const xs = before[column];
      const zoomed = xs.length > 1 && (min > xs[0] || max < xs.at(-1));
      plot.setData([data[column], ...all[i].map((line) => line.values)], !zoomed);
      if (zoomed) plot.redraw();
    });
  };

  draw();
  smoothing?.addEventListener("input", draw);
  logarithmic?.addEventListener("input", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let timer;
  addEventListener("resize", () => {
    clearTimeout(timer);
    timer = setTimeout(draw, 100);
  });
})();
