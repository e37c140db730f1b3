/** Entity types: choosing and renaming those of a file, and bringing a file's to a model's. @module */
import { UsageError, UserError } from "../../../core/errors.ts";
import type { TaskData } from "../core/task.ts";
import type { TaggedSentence } from "./ner.ts";
import { entityTypes, typesOf } from "./tagger.ts";

/** Tagged sentences by their use. */
export interface NerData extends TaskData<TaggedSentence> {
  /** The types that the files have, where a model knows more: its other predictions do not count. */
  scored?: readonly string[];
}

/**
 * The value of --types: by the files' name of a type, the name that it is to have.
 * @throws {UsageError} for an empty name.
 */
export function parseTypes(text: string): Map<string, string> {
  return new Map(
    text.split(",").map((part) => {
      const [from, to = from] = part.split("=").map((name) => name.trim());
      if (!from || !to) {
        throw new UsageError(
          `Option --types is "${text}": give types such as Disease,Drug=Chemical`,
        );
      }
      return [from, to];
    }),
  );
}

/**
 * The sentences of several splits with some of their types alone, renamed.
 * @throws {UserError} for a type that occurs in none.
 */
export function chooseTypes(
  splits: readonly TaggedSentence[][],
  chosen: ReadonlyMap<string, string>,
): TaggedSentence[][] {
  const there = entityTypes(splits.flat());
  for (const type of chosen.keys()) {
    if (there.includes(type)) continue;
    throw new UserError(
      `Cannot choose the entity type ${type} by --types: the data have ${there.join(", ")}`,
    );
  }
  return splits.map((split) => renameTypes(split, (type) => chosen.get(type)));
}

function renameTypes(
  sentences: readonly TaggedSentence[],
  nameOf: (type: string) => string | undefined,
): TaggedSentence[] {
  return sentences.map((sentence) => ({
    ...sentence,
    tags: sentence.tags.map((tag) => {
      const type = tag === "O" ? undefined : nameOf(tag.slice(2));
      return type === undefined ? "O" : tag.slice(0, 2) + type;
    }),
  }));
}

/**
 * Sentences for a model that was taught tags of its own. Types are the same where their names are, but
 * for case; what the model finds of types that the files do not have does not count.
 * @throws {UserError} where the files have a type that the model does not know.
 */
export function fitTypes(data: NerData, tags: readonly string[]): NerData {
  const known = typesOf(tags);
  const own = typesOf(data.labels);
  const same = (a: string, b: string) => a.toLowerCase() === b.toLowerCase();
  const nameOf = (type: string) => known.includes(type) ? type : known.find((k) => same(k, type));
  const strange = own.filter((type) => nameOf(type) === undefined);
  if (strange.length) {
    const shared = own.filter((type) => nameOf(type) !== undefined);
    const choice = shared.length ? shared : [`${strange[0]}=${known[0]}`];
    throw new UserError(
      `Cannot ask the model for the entities of ${data.path}: it was taught ${known.join(", ")}, ` +
        `and the file has also ${strange.join(", ")}; choose and rename types as in ` +
        `--types ${choice.join(",")}`,
    );
  }
  const rename = (sentences: TaggedSentence[]) => renameTypes(sentences, nameOf);
  const unscored = known.filter((type) => !own.some((o) => nameOf(o) === type));
  const fitted = {
    ...data,
    labels: tags,
    train: rename(data.train),
    develop: rename(data.develop),
    test: rename(data.test),
  };
  if (!unscored.length) return fitted;
  const note = `The model also tags ${unscored.join(", ")}, which the file does not have: ` +
    "that is not counted";
  return {
    ...fitted,
    scored: known.filter((type) => !unscored.includes(type)),
    notes: [...data.notes ?? [], note],
  };
}
