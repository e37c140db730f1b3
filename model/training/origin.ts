/** Where a run's weights come from: its corpora, its base, and the base's licence, for its model card. @module */
import { exists } from "../../core/files.ts";
import { basename, join } from "../../core/std.ts";
import { hasCitations } from "../../pipeline/selection/columns.ts";

/** A corpus that a run was trained on. */
interface CorpusOrigin {
  /** The name of its folder. */
  name: string;
  /** Of the tokens of a mix; undefined where there is one corpus. */
  share?: number;
  /** Whether its documents are PubMed's citations. */
  citations: boolean;
}

/** What a model card says of where a model comes from. */
export interface ModelOrigin {
  /** The Hugging Face id or folder it was trained on from; undefined for random weights. */
  base: string | undefined;
  /** The base's licence as its own card has it; undefined where that is not known. */
  baseLicense?: string;
  /** Empty for a run on a task's examples. */
  corpora: CorpusOrigin[];
}

/** The origin of a run's model, as it is when the run begins: its corpora and its base are at hand. */
export function originOf(
  { init, corpus, task }: { init: string; corpus: { path: string }; task?: string },
): ModelOrigin {
  const base = init.startsWith("random:") ? undefined : init;
  const corpora = task === undefined ? corporaOf(corpus.path) : [];
  return { base, corpora, baseLicense: base === undefined ? undefined : licenseOf(base) };
}

/** The corpora of a path as run.json has it: a folder, or a mix such as "a=0.8,b=0.2". */
function corporaOf(path: string): CorpusOrigin[] {
  const parts = path.split(",").map((part) => /^(.*)=([\d.]+)$/.exec(part));
  if (parts.some((part) => part === null)) {
    return [{ name: basename(path), citations: hasCitations(path) }];
  }
  return parts.flatMap((part) => {
    const [, folder, share] = part ?? [];
    if (folder === undefined) return [];
    return [{ name: basename(folder), share: Number(share), citations: hasCitations(folder) }];
  });
}

/** The licence in the front matter of a model folder's card; that of the published Mamba weights. */
function licenseOf(base: string): string | undefined {
  const card = join(base, "README.md");
  if (exists(card)) {
    const [, front] = /^---\r?\n([^]*?)\r?\n---/.exec(Deno.readTextFileSync(card)) ?? [];
    return /^license:\s*(\S+)\s*$/m.exec(front ?? "")?.[1];
  }
  return base.startsWith("state-spaces/") ? "apache-2.0" : undefined;
}
