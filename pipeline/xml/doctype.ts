/**
 * The document type declaration: read for its defaults of attributes, refused where it declares
 * entities (PubMed has none, and expanding them is how small files become huge).
 * @module
 */
import { isXmlChar } from "./bytes.ts";

const S = "[ \\t\\r\\n]+",
  O = "[ \\t\\r\\n]*",
  NAME = "[\\p{L}_:][\\p{L}\\p{N}\\p{M}_:.\\-\u00b7]*";
const LITERAL = `(?:"[^"]*"|'[^']*')`;
const EXTERNAL = `(?:SYSTEM${S}${LITERAL}|PUBLIC${S}${LITERAL}${S}${LITERAL})`;
const HEAD = new RegExp(`<!DOCTYPE${S}${NAME}(?:${S}${EXTERNAL})?${O}(?=[\\[>])`, "uy");
const TAIL = new RegExp(`\\]${O}>$`, "uy");
const SPACE = new RegExp(S, "uy");
const COMMENT = /<!--(?:(?!--)[^])*-->/uy;
const INSTRUCTION = new RegExp(
  `<\\?(?!xml[ \\t\\r\\n?])${NAME}(?:${S}(?:(?!\\?>)[^])*)?\\?>`,
  "uyi",
);
const ELEMENT = new RegExp(`<!ELEMENT${S}${NAME}${S}[^<>"'&%]+>`, "uy");
const NOTATION = new RegExp(
  `<!NOTATION${S}${NAME}${S}(?:${EXTERNAL}|PUBLIC${S}${LITERAL})${O}>`,
  "uy",
);
const TYPE =
  `(?:CDATA|IDREFS?|ID|ENTIT(?:Y|IES)|NMTOKENS?|NOTATION${S}\\([^()<>"'&%]*\\)|\\([^()<>"'&%]*\\))`;
const DEFAULT = `(?:#REQUIRED|#IMPLIED|(?:#FIXED${S})?(${LITERAL}))`;
const ATTRIBUTES = new RegExp(
  `<!ATTLIST${S}(${NAME})((?:${S}${NAME}${S}${TYPE}${S}${DEFAULT})*)${O}>`,
  "uy",
);
const ATTRIBUTE = new RegExp(`${S}(${NAME})${S}${TYPE}${S}${DEFAULT}`, "ug");

/** What a DOCTYPE says, or what is wrong with it and where (in UTF-16 units of the text). */
export type Doctype =
  | { defaults: Map<string, Map<string, string>> }
  | { error: string; at: number };

/** Reads a whole `<!DOCTYPE ... >`. */
export function readDoctype(text: string): Doctype {
  const defaults = new Map<string, Map<string, string>>();
  for (let i = 0; i < text.length; i++) {
    const code = text.codePointAt(i)!;
    if (!isXmlChar(code)) return { error: "a control character in the DOCTYPE", at: i };
    if (code > 0xffff) i++;
  }
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match) at = pattern.lastIndex;
    return match;
  };
  if (!take(HEAD)) return { error: "the DOCTYPE is malformed", at };
  if (text[at] === ">") return { defaults };
  at++;
  while (text[at] !== "]") {
    if (text.startsWith("<!ENTITY", at)) {
      return { error: "the DOCTYPE declares an entity: entities are refused", at };
    }
    if (text[at] === "%") {
      return { error: "the DOCTYPE uses a parameter entity: entities are refused", at };
    }
    if (take(SPACE) || take(COMMENT) || take(INSTRUCTION) || take(ELEMENT) || take(NOTATION)) {
      continue;
    }
    const list = take(ATTRIBUTES);
    if (!list) return { error: "the DOCTYPE's internal subset is malformed", at };
    for (const [, name, literal] of list[2]!.matchAll(ATTRIBUTE)) {
      if (literal === undefined) continue;
      if (/[<&]/.test(literal)) {
        return { error: `the default of attribute "${name}" holds markup or a reference`, at };
      }
      const known = defaults.get(list[1]!) ?? new Map<string, string>();
      // The first declaration of an attribute is the one that binds.
      if (!known.has(name!)) {
        known.set(name!, literal.slice(1, -1).replace(/[\t\r\n]/g, " ").trim());
      }
      defaults.set(list[1]!, known);
    }
  }
  if (!take(TAIL)) return { error: "the DOCTYPE is malformed after its internal subset", at };
  return { defaults };
}
