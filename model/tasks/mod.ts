/**
 * The biomedical tasks for programs: their files, their scores, and how certain a score is.
 *
 * ```ts
 * import { compareEntities, entitiesOf, entityF1Of, bootstrapInterval } from "pubmamba/tasks";
 *
 * const gold = [["B-Drug", "I-Drug", "O"], ["O", "B-Drug", "O"]].map(entitiesOf);
 * const system = [["B-Drug", "I-Drug", "O"], ["O", "O", "O"]].map(entitiesOf);
 * const sentences = gold.map((entities, i) => compareEntities(entities, system[i] ?? []));
 * const { low, high } = bootstrapInterval(sentences.length, entityF1Of(sentences), { seed: 1 });
 * if (!(low >= 0 && high <= 1)) throw new Error(`F1 lies between ${low} and ${high}`);
 * ```
 * @module
 */
export {
  bootstrapInterval,
  type BootstrapOptions,
  type Interval,
  mcNemar,
  type McNemarResult,
  meanOf,
  pairedBootstrap,
  type PairedComparison,
  type Spread,
  spreadOf,
  type Statistic,
} from "../statistics/mod.ts";
export {
  type BioasqQuestion,
  type BioasqType,
  type ExactAnswer,
  type QuestionScore,
  readBioasq,
  scoreBioasq,
} from "./bioasq/bioasq.ts";
export type { Counts } from "./core/task.ts";
export {
  compareEntities,
  entitiesOf,
  type Entity,
  type EntityCounts,
  entityF1Of,
  readConll,
  type TaggedSentence,
} from "./ner/ner.ts";
export type { View } from "./formats/views.ts";
export { type Pubmedqa, type PubmedqaExample, readPubmedqa } from "./pubmedqa/pubmedqa.ts";
export {
  compareRelations,
  type PubtatorDocument,
  type PubtatorMention,
  readPubtator,
  readRelations,
  type RelationExample,
} from "./relations/relations.ts";
