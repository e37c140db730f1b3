/** Named entities to fine-tune on. @module */
import type { Tokenizer } from "../../../pipeline/tokenizer/mod.ts";
import { precisionRecall } from "../core/classification.ts";
import {
  compareEntities,
  entitiesOf,
  type EntityCounts,
  sumEntityCounts,
  type TaggedSentence,
} from "./ner.ts";
import {
  decodeTags,
  entityTypes,
  scoreTags,
  taggingExamples,
  taggingRowLength,
  type TagSet,
  tagSet,
} from "./tagger.ts";
import type { FinetuneTask } from "../core/run.ts";

/** A tagging task with its splits. */
export interface TaggingSplits {
  name: string;
  train: TaggedSentence[];
  develop: TaggedSentence[];
  test: TaggedSentence[];
  path: string;
  sha256: string;
}

/** Compares predicted tags with the golden ones. */
export function countTags(sentences: TaggedSentence[], predicted: string[][]): EntityCounts[] {
  return sentences.map((s, i) => compareEntities(entitiesOf(s.tags), entitiesOf(predicted[i]!)));
}

/** The task as fine-tuning takes it; the development score is the entity-level F1. */
export function taggingTask(
  splits: TaggingSplits,
  tokenizer: Tokenizer,
  maxTokens: number,
  signal: AbortSignal,
): FinetuneTask<string[][]> {
  const { name, train, develop, test, path, sha256 } = splits;
  const all = [...train, ...develop, ...test];
  const set: TagSet = tagSet(entityTypes(all), tokenizer);
  const rowLength = taggingRowLength(all, tokenizer, maxTokens);
  const decode = (scores: number[][][]) => scores.map((s) => decodeTags(s, set.tags));
  return {
    name,
    path,
    sha256,
    rowLength,
    examples: taggingExamples(train, set, tokenizer, rowLength),
    async develop(model) {
      const scores = await scoreTags(develop, set, model, tokenizer, { signal });
      let nll = 0;
      let words = 0;
      develop.forEach(({ tags }, s) =>
        tags.forEach((tag, i) => {
          nll -= scores[s]![i]![set.tags.indexOf(tag)]!;
          words++;
        })
      );
      const { f1 } = precisionRecall(sumEntityCounts(countTags(develop, decode(scores))));
      return { score: f1, loss: nll / words };
    },
    test: async (model) => decode(await scoreTags(test, set, model, tokenizer, { signal })),
  };
}
