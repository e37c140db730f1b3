/** 100,000 odd strings: every block of Unicode, broken text, long runs. */
import { Tokenizer as Oracle } from "@huggingface/tokenizers";
import { join } from "../../core/std.ts";
import { loadTokenizer, type Tokenizer } from "../../pipeline/tokenizer/mod.ts";
import { assert, assertEquals } from "../assert.ts";
import { integers } from "../random.ts";
import { SHARED, sharedTest } from "../shared.ts";

const NEOX = "data/tokenizer/gpt-neox-20b.tokenizer.json";
/** The Rust library, where npm has it for this machine; loaded only here. */
const RUST = "npm:tokenizers@0.23.2";
const COUNT = 100_000;

/** Where JavaScript's `\s`, which the library in JavaScript uses, is not Unicode's White_Space. */
const OTHER_WHITE_SPACE = /[\u0085\ufeff]/;

const PIECES = [
  " ",
  "  ",
  "\n",
  "\r\n",
  "\t",
  "\u00a0",
  "\u0085",
  "\u200b",
  "\u2028",
  "\u3000",
  "\ufeff",
  "'s",
  "'ll",
  "'re",
  "'",
  "\u2019s",
  "<|endoftext|>",
  "<|padding|>",
  "<|",
  "e\u0301",
  "\u0327\u0301",
  "\u1100\u1161\u11a8",
  "a",
  "The",
  "p53",
  "0.05",
  "12",
  "½",
  "²",
  "Ⅷ",
  "٣",
  "µg",
  "--",
  "...",
  "\ud83e",
  "\uddec",
  "🧬",
  "👩‍🔬",
  "\u0000",
  "\u001b",
  "\u007f",
];

/** Strings by a seeded generator, well-formed or not. */
function* oddStrings(count: number): Generator<string> {
  const random = integers(2026);
  for (let i = 0; i < count; i++) {
    // Walking through the planes visits every block; neighbours come from one block.
    const block = (i * 16) % 0x33480;
    const parts: string[] = [];
    const length = i % 1000 === 0 ? 400 : 1 + random(12);
    for (let k = 0; k < length; k++) {
      const kind = random(8);
      if (kind < 4) parts.push(PIECES[random(PIECES.length)]!);
      else if (kind < 6) parts.push(String.fromCodePoint(block + random(16)));
      else if (kind < 7) parts.push(String.fromCodePoint(random(0x250)));
      else parts.push(PIECES[random(PIECES.length)]!.repeat(1 + random(30)));
    }
    yield parts.join("");
  }
}

type Encode = (texts: string[]) => Promise<ArrayLike<number>[]>;

async function rustEncoder(path: string): Promise<Encode | null> {
  try {
    const { Tokenizer: Rust } = await import(RUST);
    const rust = Rust.fromFile(path);
    return (texts) =>
      Promise.all(
        texts.map(async (text) =>
          (await rust.encode(text, null, { addSpecialTokens: false })).getIds() as number[]
        ),
      );
  } catch {
    return null;
  }
}

/** The strings whose ids differ from the reference's. */
async function compare(tokenizer: Tokenizer, encode: Encode, texts: string[]): Promise<string[]> {
  const found: string[] = [];
  for (let from = 0; from < texts.length; from += 1000) {
    const part = texts.slice(from, from + 1000);
    const expected = await encode(part);
    part.forEach((text, i) => {
      const ids = tokenizer.encode(text, { specialTokens: true });
      const wanted = expected[i]!;
      if (ids.length !== wanted.length || ids.some((id, k) => id !== wanted[k])) found.push(text);
    });
  }
  return found;
}

sharedTest(NEOX, "tokenizer: ids equal the reference on 100,000 odd strings", async () => {
  const path = join(SHARED, NEOX);
  const tokenizer = loadTokenizer(path);
  const texts = [...oddStrings(COUNT)];
  const rust = await rustEncoder(path);
  if (rust) {
    // Rust strings are well-formed; a lone surrogate is U+FFFD for either.
    const found = await compare(tokenizer, rust, texts.map((t) => t.toWellFormed()));
    // V8 may know compositions of a newer Unicode than the library does.
    const real = found.filter((t) => t.normalize("NFC") === t);
    assertEquals(real, []);
    assert(found.length < 10, JSON.stringify(found));
    return;
  }
  const oracle = new Oracle(JSON.parse(Deno.readTextFileSync(path)), {} as never);
  const javascript: Encode = (part) =>
    Promise.resolve(
      part.map((t) => oracle.encode(t, { add_special_tokens: false }).ids as number[]),
    );
  const same = texts.filter((t) => !OTHER_WHITE_SPACE.test(t)).map((t) => t.toWellFormed());
  assert(same.length > COUNT / 3, `${same.length} strings`);
  assertEquals(await compare(tokenizer, javascript, same), []);
});

sharedTest(NEOX, "tokenizer: odd strings come back whole, at once and streamed", () => {
  const tokenizer = loadTokenizer(join(SHARED, NEOX));
  for (const text of oddStrings(10_000)) {
    const ids = tokenizer.encode(text);
    const expected = text.normalize("NFC").toWellFormed();
    assertEquals(tokenizer.decode(ids), expected);
    const stream = tokenizer.streamDecoder();
    let streamed = "";
    for (const id of ids) {
      const piece = stream.push(id);
      assert(piece.isWellFormed());
      streamed += piece;
    }
    assertEquals(streamed + stream.flush(), expected);
  }
});
