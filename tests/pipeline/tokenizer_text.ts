/** Real text for the tokenizer's tests and benchmark: everything readable in the shared data. */
import { join } from "../../core/std.ts";

function* files(folder: string): Generator<string> {
  for (const entry of [...Deno.readDirSync(folder)].sort((a, b) => a.name < b.name ? -1 : 1)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) yield* files(path);
    else if (entry.isFile) yield path;
  }
}

/** Every string inside a JSON value. */
function* strings(value: unknown): Generator<string> {
  if (typeof value === "string") yield value;
  else if (typeof value === "object" && value !== null) {
    for (const item of Object.values(value)) yield* strings(item);
  }
}

/** Titles and abstracts of the PubMed truth files: title, blank line, abstract. */
export function pubmedTexts(shared: string): string[] {
  const texts: string[] = [];
  for (const path of files(join(shared, "data/pubmed/truth"))) {
    if (!path.endsWith(".jsonl")) continue;
    for (const line of Deno.readTextFileSync(path).split("\n")) {
      if (!line) continue;
      const record = JSON.parse(line) as { title?: string; abstract?: string };
      texts.push([record.title, record.abstract].filter(Boolean).join("\n\n"));
    }
  }
  return texts.filter(Boolean);
}

/** Every string of the evaluation sets, and their plain files a paragraph at a time. */
export function evaluationTexts(shared: string): string[] {
  const texts: string[] = [];
  for (const path of files(join(shared, "data/eval"))) {
    const text = Deno.readTextFileSync(path);
    if (path.endsWith(".json")) texts.push(...strings(JSON.parse(text)));
    else if (path.endsWith(".jsonl")) {
      for (const line of text.split("\n")) if (line) texts.push(...strings(JSON.parse(line)));
    } else texts.push(...text.split("\n\n"));
  }
  return texts.filter(Boolean);
}
