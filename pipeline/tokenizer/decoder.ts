/** From ids back to text. @module */
import { nth } from "../../core/nth.ts";
import type { TokenBytes } from "./tokenizer_json.ts";

/** Joins the bytes of tokens and reads them as UTF-8; broken sequences become U+FFFD. */
export class TokenDecoder {
  /**
   * @param bytes every token's bytes by id
   * @param skipped ids that stand for no text, such as special tokens
   */
  constructor(
    readonly bytes: TokenBytes,
    readonly skipped: ReadonlySet<number> = new Set(),
  ) {}

  /** The bytes of a token; none for an id without one (the model's padding ids) or skipped. */
  bytesOf(id: number): Uint8Array {
    return this.skipped.has(id) ? NOTHING : this.bytes.get(id);
  }

  /** The text of `ids`. */
  decode(ids: ArrayLike<number>): string {
    let length = 0;
    for (let i = 0; i < ids.length; i++) length += this.bytesOf(nth(ids, i)).length;
    const joined = new Uint8Array(length);
    for (let i = 0, at = 0; i < ids.length; i++) {
      const bytes = this.bytesOf(nth(ids, i));
      joined.set(bytes, at);
      at += bytes.length;
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(joined);
  }

  /** Decodes one id at a time. */
  stream(): StreamDecoder {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return {
      push: (id) => decoder.decode(this.bytesOf(id), { stream: true }),
      flush: () => decoder.decode(),
    };
  }
}

const NOTHING = new Uint8Array(0);

/** Text as the ids come; a character whose bytes are spread over several ids comes whole. */
export interface StreamDecoder {
  /** The text that is complete with `id`; often empty. */
  push(id: number): string;
  /** What is left: U+FFFD where the last character never ended. */
  flush(): string;
}
