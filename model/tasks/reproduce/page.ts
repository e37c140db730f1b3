/** A reproduction for people and programs: the table of the terminal, LaTeX, one HTML page, JSON. @module */
import { formatTable } from "../../../core/reporter.ts";
import { escapeLatex } from "../core/latex.ts";
import { escapeXml } from "../formats/xml.ts";
import type { Interval } from "../../statistics/mod.ts";
import type { Difference, Row, RowKind, SetSummary, Tally } from "./compare.ts";
import { tally } from "./compare.ts";
import type { LeftOut } from "./find.ts";
import { publishedFor } from "./published.ts";

/** What the table and the page are made of. */
export interface ReproductionReport {
  summaries: readonly SetSummary[];
  leftOut: readonly LeftOut[];
  /** The label of the model that the others are compared with. */
  base: string;
  models: readonly { label: string; place: string; parameters?: number }[];
  /** What was done, in sentences. */
  protocol: readonly string[];
  /** Whether it is a smoke run, which says nothing of the models. */
  quick: boolean;
}

/** What is said above the figures of a smoke run. */
const QUICK_WARNING =
  "A smoke run on a few examples of each set: it shows that everything works, and nothing else.";

/** How rows came to their answers, in words. */
const KINDS: Record<RowKind, string> = {
  trivial: "trivial",
  system: "answer file",
  asked: "as it is",
  taught: "fine-tuned",
};

const number = (value: number): string => value.toFixed(4);
const signed = (value: number): string => (value < 0 ? "" : "+") + number(value);
const interval = (i: Interval | undefined): string =>
  i ? `${number(i.low)}-${number(i.high)}` : "none";
const signedInterval = ({ low, high }: Interval): string => `${signed(low)} to ${signed(high)}`;

const difference = (d: Difference | undefined): string =>
  d ? `${signed(d.difference)} (${signedInterval(d.interval)})` : "";

const nameOf = ({ name, kind }: Row): string =>
  kind === "trivial" ? name : `${name}, ${KINDS[kind]}`;

/** The main table: a row per system and set, with the set's main measure. */
function mainTable({ summaries }: ReproductionReport): { head: string[]; rows: string[][] } {
  const rows = summaries.flatMap(({ id, count, units, rows }) =>
    rows.map((row, i) => {
      const [primary] = row.measures;
      return [
        i === 0 ? `${id}, ${count} ${units}` : "",
        nameOf(row),
        primary?.name ?? "",
        primary ? number(primary.value) : "",
        interval(primary?.interval),
        row.spread ? number(row.spread.standard_deviation) : "",
        difference(row.againstBase),
        row.againstBase?.outcome ?? "",
        difference(row.againstTrivial),
      ];
    })
  );
  const head = [
    "set",
    "system",
    "measure",
    "value",
    "95%",
    "seeds' deviation",
    "against base (95%)",
    "outcome",
    "against trivial (95%)",
  ];
  return { head, rows };
}

const share = (n: number, all: number): string => `${(100 * n / all).toFixed(0)} %`;

function tallyRows(tallies: readonly Tally[]): string[][] {
  return tallies.map(({ name, kind, win, tie, loss }) => {
    const all = win + tie + loss;
    return [
      `${name}, ${KINDS[kind]}`,
      ...[win, tie, loss].map((n) => `${n} (${share(n, all)})`),
    ];
  });
}

const TALLY_HEAD = ["against the base, over the sets", "win", "tie", "loss"];

/** The table of the terminal. */
export function terminalText(report: ReproductionReport): string {
  const { head, rows } = mainTable(report);
  const tallies = tallyRows(tally(report.summaries));
  const published = publishedRows(report);
  return [
    ...(report.quick ? [QUICK_WARNING] : []),
    formatTable(head, rows),
    ...(tallies.length ? [formatTable(TALLY_HEAD, tallies)] : []),
    ...(published.length ? [formatTable(PUBLISHED_HEAD, published)] : []),
    ...(report.leftOut.length ? [leftOutText(report.leftOut)] : []),
  ].join("\n\n");
}

/** What was left out, and why. */
export function leftOutText(leftOut: readonly LeftOut[]): string {
  return ["Left out:", ...leftOut.map(({ place, why }) => `  ${place}: ${why}`)].join("\n");
}

const PUBLISHED_HEAD = ["set", "published", "measure", "value, %", "but"];

function publishedRows({ summaries }: ReproductionReport): string[][] {
  return summaries.flatMap(({ id, task, place, notes }) =>
    publishedFor(task, place, notes).map(({ system, measure, value, caveat }) => [
      id,
      system,
      measure,
      value.toFixed(1),
      caveat,
    ])
  );
}

/** The table for a paper: values in percent, intervals below; it needs the package `booktabs`. */
export function latexText(report: ReproductionReport): string {
  const percent = (value: number) => (100 * value).toFixed(1);
  const small = (text: string) => `{\\scriptsize ${text}}`;
  const body = report.summaries.flatMap(({ id, count, units, rows }) => [
    `\\multicolumn{5}{l}{${escapeLatex(`${id}, ${count} ${units}`)}} \\\\`,
    ...rows.map((row) => {
      const [primary] = row.measures;
      const { againstBase } = row;
      const cells = [
        `\\quad ${escapeLatex(nameOf(row))}`,
        escapeLatex(primary?.name ?? ""),
        primary
          ? `${percent(primary.value)} ${
            primary.interval
              ? small(`${percent(primary.interval.low)}--${percent(primary.interval.high)}`)
              : ""
          }`.trim()
          : "",
        againstBase
          ? `$${signedPercent(againstBase.difference)}$ ${
            small(
              `$${signedPercent(againstBase.interval.low)}$ to $${
                signedPercent(againstBase.interval.high)
              }$`,
            )
          }`
          : "",
        againstBase?.outcome ?? "",
      ];
      return `${cells.join(" & ")} \\\\`;
    }),
    "\\addlinespace",
  ]);
  return [
    `% 95% bootstrap intervals; differences are paired, against ${report.base}`,
    ...(report.quick ? [`% ${QUICK_WARNING}`] : []),
    "\\begin{tabular}{llrrl}",
    "\\toprule",
    "system & measure & value & difference & outcome \\\\",
    "\\midrule",
    ...body.slice(0, -1),
    "\\bottomrule",
    "\\end{tabular}",
    "",
  ].join("\n");
}

const signedPercent = (value: number): string => (value < 0 ? "" : "+") + (100 * value).toFixed(1);

/** Everything for programs. */
export function reportJson(report: ReproductionReport): Record<string, unknown> {
  return {
    base: report.base,
    models: report.models,
    protocol: report.protocol,
    quick: report.quick,
    sets: report.summaries.map((summary) => ({
      ...summary,
      rows: summary.rows.map(jsonRow),
      published: publishedFor(summary.task, summary.place, summary.notes),
    })),
    tally: tally(report.summaries),
    left_out: report.leftOut,
  };
}

/** A row with the keys of other commands' JSON. */
function jsonRow(row: Row): Record<string, unknown> {
  const { learningRate, againstBase, againstTrivial, measures, ...rest } = row;
  const pair = (i: Interval | undefined) => i ? [i.low, i.high] : null;
  const compared = (d: Difference | undefined) =>
    d &&
    {
      from: d.from,
      difference: d.difference,
      interval: pair(d.interval),
      p: d.p,
      outcome: d.outcome,
    };
  return {
    ...rest,
    ...(learningRate === undefined ? {} : { learning_rate: learningRate }),
    measures: measures.map((m) => ({ ...m, interval: pair(m.interval) })),
    ...(againstBase ? { against_base: compared(againstBase) } : {}),
    ...(againstTrivial ? { against_trivial: compared(againstTrivial) } : {}),
  };
}

/** Which files belong to a row, for the page's links. */
export type LinksOf = (summary: SetSummary, row: Row) => readonly { name: string; href: string }[];

/** One page that needs nothing else. */
export function htmlPage(report: ReproductionReport, linksOf: LinksOf): string {
  const table = (head: readonly string[], rows: readonly (readonly string[])[]) =>
    `<div class="wide"><table><thead><tr>${
      head.map((cell) => `<th>${escapeXml(cell)}</th>`).join("")
    }</tr></thead><tbody>${
      rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("\n")
    }</tbody></table></div>`;
  const escaped = (rows: readonly (readonly string[])[]) => rows.map((r) => r.map(escapeXml));
  const tallies = tallyRows(tally(report.summaries));
  const published = publishedRows(report);
  const sections = report.summaries.map((summary) => {
    const { id, count, units, rows } = summary;
    const measures = rows[0]?.measures ?? [];
    const head = [
      "system",
      ...measures.map(({ name }) => name),
      "against base",
      "outcome",
      "against trivial",
      "files",
    ];
    const body = rows.map((row) => [
      escapeXml(nameOf(row)) + (row.seeds > 1
        ? `<small>${row.seeds} seeds, deviation ${
          number(row.spread?.standard_deviation ?? 0)
        }</small>`
        : "") +
      (row.learningRate === undefined
        ? ""
        : `<small>learning rate ${row.learningRate}, development ${
          number(row.development ?? NaN)
        }</small>`),
      ...measures.map(({ key }) => {
        const own = row.measures.find((m) =>
          m.key === key
        );
        return own ? `${number(own.value)}<small>${interval(own.interval)}</small>` : "";
      }),
      compared(row.againstBase),
      `<span class="${row.againstBase?.outcome ?? ""}">${row.againstBase?.outcome ?? ""}</span>`,
      compared(row.againstTrivial),
      linksOf(summary, row).map(({ name, href }) =>
        `<a href="${escapeXml(href)}">${escapeXml(name)}</a>`
      ).join(" "),
    ]);
    return `<h2>${escapeXml(id)}</h2>\n<p>${count} ${escapeXml(units)}, from ${
      escapeXml([summary.place, ...summary.notes].join(". "))
    }</p>\n${table(head, body)}`;
  });
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Reproduction</title>
<style>${STYLE}</style>
<h1>Reproduction</h1>
${report.quick ? `<p><strong>${QUICK_WARNING}</strong></p>` : ""}
<p>${report.protocol.map(escapeXml).join(" ")}</p>
${
    table(
      ["model", "place", "parameters"],
      escaped(
        report.models.map((
          m,
        ) => [m.label, m.place, m.parameters?.toLocaleString("en") ?? "of another kind"]),
      ),
    )
  }
${tallies.length ? `<h2>Wins, ties and losses</h2>\n${table(TALLY_HEAD, escaped(tallies))}` : ""}
${sections.join("\n")}
${
    published.length
      ? `<h2>Published figures</h2>\n${table(PUBLISHED_HEAD, escaped(published))}`
      : ""
  }
${
    report.leftOut.length
      ? `<h2>Left out</h2>\n${
        table(["file or folder", "why"], escaped(report.leftOut.map((l) => [l.place, l.why])))
      }`
      : ""
  }
</html>
`;
}

const compared = (d: Difference | undefined): string =>
  d
    ? `${signed(d.difference)}<small>${signedInterval(d.interval)}, p ${d.p.toFixed(4)}</small>`
    : "";

const STYLE = `
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #8884; }
small { display: block; opacity: .7; white-space: nowrap; }
.win { color: #186818; } .loss { color: #a01818; }
`;
