/** The table of a report for a paper. @module */
import type { MeasuredSystem } from "./task.ts";

/** Characters that mean something to LaTeX. */
const SPECIAL: Record<string, string> = {
  "\\": "\\textbackslash{}",
  "{": "\\{",
  "}": "\\}",
  "~": "\\textasciitilde{}",
  "^": "\\textasciicircum{}",
};

/** Text as LaTeX shows it. */
export function escapeLatex(text: string): string {
  return text.replaceAll(/[\\{}~^#$%&_]/g, (c) => SPECIAL[c] ?? `\\${c}`);
}

/**
 * A `tabular` with a row per system and a column per measure, in percent, each with its 95% interval
 * below; it needs the package `booktabs`.
 */
export function latexTable(title: string, systems: readonly MeasuredSystem[]): string {
  const measures = systems[0]?.score.measures ?? [];
  const percent = (value: number) => (100 * value).toFixed(1);
  const rows = systems.flatMap(({ name, measured }) => {
    const values = measures.map(({ key }) => percent(measured[key]?.value ?? NaN));
    const intervals = measures.map(({ key }) => {
      const { low, high } = measured[key]?.interval ?? { low: NaN, high: NaN };
      return `{\\scriptsize ${percent(low)}--${percent(high)}}`;
    });
    return [
      `${[escapeLatex(name), ...values].join(" & ")} \\\\`,
      `${["", ...intervals].join(" & ")} \\\\`,
    ];
  });
  return [
    `% ${title.replaceAll("\n", " ")}; 95% bootstrap intervals`,
    `\\begin{tabular}{l${"r".repeat(measures.length)}}`,
    "\\toprule",
    `${["system", ...measures.map(({ name }) => escapeLatex(name))].join(" & ")} \\\\`,
    "\\midrule",
    ...rows,
    "\\bottomrule",
    "\\end{tabular}",
  ].join("\n");
}
