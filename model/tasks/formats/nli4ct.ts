/**
 * NLI4CT (SemEval-2023 task 7; Jullien et al. 2023): statements about one or two clinical trials, and
 * whether the named section entails or contradicts them. A folder with the statements as one JSON object
 * by id, and the trials as JSON files in a folder beside it or below it.
 * @module
 */
import { UserError } from "../../../core/errors.ts";
import { exists } from "../../../core/files.ts";
import { dirname, join } from "../../../core/std.ts";
import { objectOf, readJson, textOf, textsOf } from "./files.ts";
import type { Format, LabelledText } from "./types.ts";

interface Statement {
  Section_id: string;
  Primary_id: string;
  Secondary_id?: string;
  Statement: string;
  Label?: string;
}

function statementsOf(value: unknown): [string, Statement][] {
  const entries = Object.entries(objectOf(value) ?? {}).map(([id, one]) => [id, objectOf(one)]);
  const right = entries.every(([, one]) =>
    typeof one === "object" && textOf(one.Statement) !== undefined &&
    textOf(one.Primary_id) !== undefined
  );
  return right && entries.length ? entries as unknown as [string, Statement][] : [];
}

/** The folder of trials for a file of statements: any near it that has the trial asked for. */
function trialFolder(path: string, trial: string): string {
  const has = (folder: string) => exists(join(folder, `${trial}.json`));
  const foldersIn = (folder: string) =>
    [...Deno.readDirSync(folder)].filter((entry) => entry.isDirectory)
      .map((entry) => join(folder, entry.name)).sort();
  for (const base of [dirname(path), dirname(dirname(path))]) {
    const below = foldersIn(base || ".");
    const found = [base, ...below].find(has) ?? below.flatMap(foldersIn).find(has);
    if (found !== undefined) return found;
  }
  throw new UserError(
    `Cannot read ${path}: the trial ${trial} that it names is in no folder beside it; put the ` +
      `folder of trials (${trial}.json and the others) there`,
  );
}

/** See the module's text; the first text is the trial's section, the second the statement. */
export const nli4ct: Format<"text"> = {
  name: "nli4ct",
  kind: "text",
  title: "NLI4CT's statements on clinical trials, with the folder of trials beside the file",
  extension: ".json",
  recognise: (probe) => !probe.isFolder && statementsOf(probe.json()).length ? 0.99 : 0,
  read(path) {
    const trials = new Map<string, Record<string, unknown>>();
    let folder: string | undefined;
    const section = (trial: string, name: string): string => {
      folder ??= trialFolder(path, trial);
      const file = join(folder, `${trial}.json`);
      const value = trials.get(trial) ?? objectOf(readJson(file));
      if (!value) throw new UserError(`Cannot read ${file}: it is not a clinical trial's object`);
      trials.set(trial, value);
      const key = Object.keys(value).find((k) => k.toLowerCase() === name.toLowerCase());
      if (key === undefined) {
        throw new UserError(
          `Cannot read ${path}: the section "${name}" that it names is not in ${file}, which has ` +
            Object.keys(value).join(", "),
        );
      }
      return textsOf(value[key]).map((line) => line.trim()).filter((line) => line !== "")
        .join("\n");
    };
    return statementsOf(readJson(path)).map(([id, s]): LabelledText => {
      const primary = section(s.Primary_id, s.Section_id);
      const text = s.Secondary_id
        ? `Primary trial:\n${primary}\n\nSecondary trial:\n${section(s.Secondary_id, s.Section_id)}`
        : primary;
      return { kind: "text", id, text, pair: s.Statement, labels: s.Label ? [s.Label] : [] };
    });
  },
};
