/**
 * The document type declaration: read for its defaults of attributes, refused where it declares
 * entities (PubMed has none, and expanding them is how small files become huge). One pass, a
 * character at a time: the work grows with the length of the text and with nothing else.
 * Productions 28 to 29 and 52 to 60 of XML 1.0, with the content of element types not looked into.
 * @module
 */
import { isXmlChar } from "./bytes.ts";

/** What a DOCTYPE says, or what is wrong with it and where (in UTF-16 units of the text). */
type Doctype =
  | { defaults: Map<string, Map<string, string>> }
  | { error: string; at: number };

const NAME_START = /[\p{L}_:]/u;
const NAME_CHARACTER = /[\p{L}\p{N}\p{M}_:.\-\u00b7]/u;
/** What element types and lists of values are not made of. */
const STOPS_CONTENT = `<>"'&%[]`;
const STOPS_LIST = `()<>"'&%[]`;
/** The types of attributes that are a word. */
const ATTRIBUTE_TYPES = [
  "CDATA",
  "ID",
  "IDREF",
  "IDREFS",
  "ENTITY",
  "ENTITIES",
  "NMTOKEN",
  "NMTOKENS",
];

/** Reads a whole `<!DOCTYPE ... >`. */
export function readDoctype(text: string): Doctype {
  for (let i = 0; i < text.length; i++) {
    const code = text.codePointAt(i) ?? 0;
    if (!isXmlChar(code)) return { error: "a control character in the DOCTYPE", at: i };
    if (code > 0xffff) i++;
  }
  return new DoctypeReader(text).read();
}

/** Reads one text from its start to its end; every method steps over what it finds, or not at all. */
class DoctypeReader {
  readonly #text: string;
  #at = 0;
  readonly #defaults = new Map<string, Map<string, string>>();

  constructor(text: string) {
    this.#text = text;
  }

  read(): Doctype {
    const text = this.#text;
    if (!this.#head()) return { error: "the DOCTYPE is malformed", at: 0 };
    if (this.#word(">")) return { defaults: this.#defaults };
    this.#word("[");
    while (text[this.#at] !== "]") {
      const at = this.#at;
      if (text.startsWith("<!ENTITY", at)) {
        return { error: "the DOCTYPE declares an entity: entities are refused", at };
      }
      if (text[at] === "%") {
        return { error: "the DOCTYPE uses a parameter entity: entities are refused", at };
      }
      const known = this.#space() || this.#try(() => this.#comment()) ||
        this.#try(() => this.#instruction()) || this.#try(() => this.#element()) ||
        this.#try(() => this.#notation());
      if (known) continue;
      const wrong = this.#attributes();
      if (wrong) return wrong;
    }
    const at = this.#at++;
    this.#space();
    return this.#word(">") && this.#at === text.length
      ? { defaults: this.#defaults }
      : { error: "the DOCTYPE is malformed after its internal subset", at };
  }

  /** `<!DOCTYPE`, the name, and where its external part lies, up to `[` or `>`. */
  #head(): boolean {
    if (!this.#word("<!DOCTYPE") || !this.#space() || this.#name() === "") return false;
    this.#try(() => this.#space() && this.#external());
    this.#space();
    const next = this.#text[this.#at];
    return next === "[" || next === ">";
  }

  /** `SYSTEM "..."` or `PUBLIC "..." "..."`. */
  #external(): boolean {
    if (this.#word("SYSTEM")) return this.#space() && this.#literal() !== undefined;
    return this.#public() && this.#space() && this.#literal() !== undefined;
  }

  #public(): boolean {
    return this.#word("PUBLIC") && this.#space() && this.#literal() !== undefined;
  }

  #comment(): boolean {
    if (!this.#word("<!--")) return false;
    const end = this.#text.indexOf("--", this.#at);
    if (end < 0 || this.#text[end + 2] !== ">") return false;
    this.#at = end + 3;
    return true;
  }

  #instruction(): boolean {
    if (!this.#word("<?")) return false;
    const name = this.#name();
    if (name === "" || name.toLowerCase() === "xml") return false;
    if (this.#word("?>")) return true;
    if (!this.#space()) return false;
    const end = this.#text.indexOf("?>", this.#at);
    if (end < 0) return false;
    this.#at = end + 2;
    return true;
  }

  #element(): boolean {
    if (!this.#word("<!ELEMENT") || !this.#space() || this.#name() === "") return false;
    const from = this.#at;
    if (!this.#space()) return false;
    this.#until(STOPS_CONTENT);
    // A space behind the name, and something of the content's behind that.
    return this.#at - from >= 2 && this.#word(">");
  }

  #notation(): boolean {
    if (!this.#word("<!NOTATION") || !this.#space() || this.#name() === "" || !this.#space()) {
      return false;
    }
    if (!this.#try(() => this.#external()) && !this.#public()) return false;
    this.#space();
    return this.#word(">");
  }

  /** A list of attributes, whose defaults are kept; returns what is wrong with it. */
  #attributes(): { error: string; at: number } | undefined {
    const malformed = { error: "the DOCTYPE's internal subset is malformed", at: this.#at };
    if (!this.#word("<!ATTLIST") || !this.#space()) return malformed;
    const element = this.#name();
    if (element === "") return malformed;
    const found = new Map<string, string>();
    let wrong: string | undefined;
    for (;;) {
      const apart = this.#space();
      if (this.#word(">")) break;
      const name = this.#name();
      if (!apart || name === "" || !this.#space() || !this.#type() || !this.#space()) {
        return malformed;
      }
      const value = this.#default();
      if (value === null) return malformed;
      if (value === undefined) continue;
      if (/[<&]/.test(value)) {
        wrong ??= `the default of attribute "${name}" holds markup or a reference`;
      }
      // The first declaration of an attribute is the one that binds.
      if (!found.has(name)) found.set(name, value.replace(/[\t\r\n]/g, " ").trim());
    }
    if (wrong !== undefined) return { error: wrong, at: this.#at };
    if (found.size === 0) return undefined;
    const known = this.#defaults.get(element) ?? new Map<string, string>();
    for (const [name, value] of found) if (!known.has(name)) known.set(name, value);
    this.#defaults.set(element, known);
    return undefined;
  }

  /** The type of an attribute: a word, or a list of the values that it may have. */
  #type(): boolean {
    const word = this.#upperCase();
    if (ATTRIBUTE_TYPES.includes(word)) return true;
    if (word === "NOTATION" ? !this.#space() : word !== "") return false;
    if (!this.#word("(")) return false;
    this.#until(STOPS_LIST);
    return this.#word(")");
  }

  /** The default of an attribute: its value, undefined where it has none, null where it is wrong. */
  #default(): string | undefined | null {
    if (this.#word("#REQUIRED") || this.#word("#IMPLIED")) return undefined;
    if (this.#word("#FIXED") && !this.#space()) return null;
    return this.#literal() ?? null;
  }

  /** Goes back to where it was where `action` does not find what it is for. */
  #try(action: () => boolean): boolean {
    const at = this.#at;
    if (action()) return true;
    this.#at = at;
    return false;
  }

  #word(word: string): boolean {
    if (!this.#text.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return true;
  }

  /** True where there was white space. */
  #space(): boolean {
    const from = this.#at;
    while (isSpace(this.#text.charCodeAt(this.#at))) this.#at++;
    return this.#at > from;
  }

  /** The name that begins here, or "" where none does. */
  #name(): string {
    const from = this.#at;
    let allowed = NAME_START;
    for (;;) {
      const code = this.#text.codePointAt(this.#at);
      if (code === undefined) break;
      const character = String.fromCodePoint(code);
      if (!allowed.test(character)) break;
      this.#at += character.length;
      allowed = NAME_CHARACTER;
    }
    return this.#text.slice(from, this.#at);
  }

  /** Capital letters. */
  #upperCase(): string {
    const from = this.#at;
    while (/^[A-Z]$/.test(this.#text[this.#at] ?? "")) this.#at++;
    return this.#text.slice(from, this.#at);
  }

  /** What stands between quotes of one kind, or undefined where nothing does. */
  #literal(): string | undefined {
    const quote = this.#text[this.#at];
    if (quote !== '"' && quote !== "'") return undefined;
    const end = this.#text.indexOf(quote, this.#at + 1);
    if (end < 0) return undefined;
    const value = this.#text.slice(this.#at + 1, end);
    this.#at = end + 1;
    return value;
  }

  /** Steps over everything up to one of `stops`. */
  #until(stops: string): void {
    while (this.#at < this.#text.length && !stops.includes(this.#text.charAt(this.#at))) this.#at++;
  }
}

const isSpace = (code: number) => code === 32 || code === 9 || code === 10 || code === 13;
