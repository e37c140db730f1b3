/**
 * Reproduction of every task on every set of a folder: the door of this room.
 *
 * | file           | what it does                                                     |
 * | -------------- | ---------------------------------------------------------------- |
 * | `find.ts`      | finds sets by looking at files                                   |
 * | `models.ts`    | the models' names and digests                                    |
 * | `answers.ts`   | answer files of systems from elsewhere                           |
 * | `pieces.ts`    | finished work, which is not done again                           |
 * | `reproduce.ts` | asks, searches, teaches and tests                                |
 * | `compare.ts`   | measures over seeds, paired differences, wins, ties and losses   |
 * | `published.ts` | figures of papers                                                |
 * | `plan.ts`      | what it would take                                               |
 * | `write.ts`     | the results' files                                               |
 * | `page.ts`      | the table and the page                                           |
 * @module
 */
export { findSets, type Found } from "./find.ts";
export { parseNamed, type ReproducedModel } from "./models.ts";
export { planReproduction } from "./plan.ts";
export { type Protocol, type ReproduceRequest } from "./reproduce.ts";
export { reproduceAndWrite } from "./write.ts";
