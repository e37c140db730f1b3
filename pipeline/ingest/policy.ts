/**
 * Which citations a model is trained on. Every live citation is a document of the corpus; the
 * policies decide which documents become tokens, and each that does not is counted by its reason.
 * @module
 */
import { type Citation, isRetracted } from "../citation/types.ts";

/** The policies, as options name them. */
export interface Policies {
  /** Articles that were retracted. */
  retracted: Choice;
  /** Notices about other articles: errata, retraction notices, expressions of concern. */
  errata: Choice;
  /** Comments on other articles and replies to them. */
  replies: Choice;
  /** Citations with a title only. */
  noAbstract: Choice;
  /** Articles in other languages; their PubMed abstracts are English nearly always. */
  nonEnglish: Choice;
  /** Documents of fewer characters are dropped. */
  minCharacters: number;
}

/** What a policy does. */
export type Choice = "keep" | "drop";

/** The default policies: sound, self-contained text. */
export const DEFAULT_POLICIES: Policies = {
  retracted: "drop",
  errata: "drop",
  replies: "keep",
  noAbstract: "drop",
  nonEnglish: "keep",
  minCharacters: 100,
};

/** Why a record gave no document, or a document no tokens. */
export type DropReason =
  | "no-pmid"
  | "bad-version"
  | "bad-deletion"
  | "unknown-element"
  | "no-text"
  | "retracted"
  | "erratum"
  | "reply"
  | "no-abstract"
  | "non-english"
  | "too-short";

const NOTICES = new Set([
  "Published Erratum",
  "Retraction of Publication",
  "Retraction Notice",
  "Expression of Concern",
]);
const REPLY =
  /^\W*(?:in reply|(?:the )?authors?['’]?s?['’]? (?:reply|response)|(?:reply|response) to)\b/i;

/** The part of a citation that the policies look at. */
export interface PolicyView {
  title: string;
  abstract: string;
  text: string;
  languages: readonly string[];
  publicationTypes: readonly { name: string }[];
  corrections: readonly { type: string }[];
}

/** The first policy that drops the document, or undefined where it is kept. */
export function dropReason(view: PolicyView, policies: Policies): DropReason | undefined {
  if (view.text === "") return "no-text";
  const typed = (name: string) => view.publicationTypes.some((t) => t.name === name);
  const corrected = (type: string) => view.corrections.some((c) => c.type === type);
  const drops = (choice: Choice, test: () => boolean) => choice === "drop" && test();
  if (drops(policies.retracted, () => isRetracted(view.publicationTypes, view.corrections))) {
    return "retracted";
  }
  if (
    drops(
      policies.errata,
      () =>
        view.publicationTypes.some((t) => NOTICES.has(t.name)) || corrected("ErratumFor") ||
        corrected("RetractionOf") || corrected("ExpressionOfConcernFor"),
    )
  ) return "erratum";
  if (drops(policies.replies, () => typed("Comment") || REPLY.test(view.title))) return "reply";
  if (drops(policies.nonEnglish, () => !isEnglish(view.languages))) return "non-english";
  if (drops(policies.noAbstract, () => view.abstract === "")) return "no-abstract";
  return view.text.length < policies.minCharacters ? "too-short" : undefined;
}

/** Nothing said counts as English, as it does in PubMed. */
function isEnglish(languages: Citation["languages"] | readonly string[]): boolean {
  return languages.length === 0 || languages.includes("eng");
}
