import { Tokenizer as Oracle } from "@huggingface/tokenizers";
import { UserError } from "../../core/errors.ts";
import { tokenizerFromJson, trainTokenizer } from "../../pipeline/tokenizer/mod.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";
import { integers } from "../random.ts";

/** The Rust library, where npm has it for this machine. */
const RUST = "npm:tokenizers@0.23.2";
const PATTERN = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Invented prose with repeated words. */
function texts(count: number): string[] {
  const random = integers(12345);
  const parts = ["cardi", "neur", "oma", "itis", "gen", "ase", "in", "hyper", "al", "aaa", "ba"];
  const word = () => Array.from({ length: 1 + random(4) }, () => parts[random(11)]).join("");
  return Array.from(
    { length: count },
    () => Array.from({ length: 30 }, word).join(random(2) ? " " : ", ") + ` ${random(2000)} µg.`,
  );
}

/** The specification: counts every pair anew for every merge. */
function trainNaively(input: string[], vocabularySize: number): string[] {
  const vocabulary = trainTokenizer(["a"], 258).model.vocab;
  const names: string[] = [];
  for (const [name, id] of Object.entries(vocabulary)) names[id] = name;
  const standIn = byteNames(names);
  const counts = new Map<string, number>();
  for (const text of input) {
    for (const [word] of text.normalize("NFC").matchAll(PATTERN)) {
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
  }
  const words = [...counts].map(([word, count]) => ({
    ids: Array.from(new TextEncoder().encode(word), (b) => vocabulary[standIn[b]!]!),
    count,
  }));
  const merges: string[] = [];
  while (names.length < vocabularySize) {
    const pairs = new Map<number, number>();
    for (const { ids, count } of words) {
      for (let i = 0; i + 1 < ids.length; i++) {
        const key = ids[i]! * 65536 + ids[i + 1]!;
        pairs.set(key, (pairs.get(key) ?? 0) + count);
      }
    }
    const best = [...pairs].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0];
    if (!best || best[1] < 2) break;
    const left = Math.floor(best[0] / 65536);
    const right = best[0] % 65536;
    const name = names[left]! + names[right]!;
    const known = names.indexOf(name);
    const merged = known < 0 ? names.push(name) - 1 : known;
    merges.push(`${names[left]} ${names[right]}`);
    for (const word of words) {
      const ids: number[] = [];
      for (let i = 0; i < word.ids.length; i++) {
        if (word.ids[i] === left && word.ids[i + 1] === right) {
          ids.push(merged);
          i++;
        } else ids.push(word.ids[i]!);
      }
      word.ids = ids;
    }
  }
  return merges;
}

/** GPT-2's stand-ins by byte, from the sorted alphabet. */
function byteNames(names: string[]): string[] {
  const alphabet = names.slice(2);
  const printable = alphabet.filter((c) => c.charCodeAt(0) < 256);
  const rest = alphabet.filter((c) => c.charCodeAt(0) >= 256);
  const bytes: string[] = [];
  for (const c of printable) bytes[c.charCodeAt(0)] = c;
  for (let b = 0; b < 256; b++) bytes[b] ??= rest.shift()!;
  return bytes;
}

Deno.test("tokenizer training: merges equal the plain algorithm's, in order", () => {
  const input = texts(60);
  const merges = trainTokenizer(input, 600).model.merges;
  assert(merges.length > 300, `${merges.length} merges`);
  assertEquals(merges, trainNaively(input, 600));
});

Deno.test("tokenizer training: the file loads in the reference and gives equal ids", () => {
  const input = texts(200);
  const json = trainTokenizer(input, 700);
  assertEquals(Object.keys(json.model.vocab).length, 700);
  const tokenizer = tokenizerFromJson(json);
  const oracle = new Oracle(json as never, {} as never);
  assertEquals([tokenizer.endOfText, tokenizer.addedTokenId("<|padding|>")], [0, 1]);
  for (const text of [...input, "Unseen: naïve Ångström\u0301s 🧬 \t\n x"]) {
    const ids = Array.from(tokenizer.encode(text));
    assertEquals(ids, oracle.encode(text, { add_special_tokens: false }).ids as number[]);
    assertEquals(tokenizer.decode(ids), text.normalize("NFC"));
  }
});

Deno.test("tokenizer training: deterministic, and the order of texts does not matter", () => {
  const input = texts(100);
  const once = JSON.stringify(trainTokenizer(input, 500));
  assertEquals(JSON.stringify(trainTokenizer(input, 500)), once);
  assertEquals(JSON.stringify(trainTokenizer([...input].reverse(), 500)), once);
});

Deno.test("tokenizer training: impossible sizes and empty input are refused", () => {
  assertThrows(() => trainTokenizer(["a"], 100), UserError, "choose from 258 to 65535");
  assertThrows(() => trainTokenizer(["a"], 70_000), UserError, "70000");
  assertThrows(() => trainTokenizer([], 300), UserError, "there is no text");
  assertEquals(trainTokenizer(["ab"], 300).model.merges, []); // nothing is repeated
});

/** Merges by the Rust library's trainer; null where it does not load. */
async function trainInRust(lines: string[]): Promise<string[] | null> {
  let rust;
  try {
    rust = await import(RUST);
  } catch {
    return null;
  }
  const folder = Deno.makeTempDirSync();
  const file = `${folder}/texts.txt`;
  const out = `${folder}/t.json`;
  try {
    Deno.writeTextFileSync(file, lines.join(""));
    const tokenizer = new rust.Tokenizer(rust.BPE.empty());
    tokenizer.setNormalizer(rust.nfcNormalizer());
    tokenizer.setPreTokenizer(rust.byteLevelPreTokenizer(false));
    tokenizer.train([file]);
    tokenizer.save(out);
    const { merges } = JSON.parse(Deno.readTextFileSync(out)).model;
    return merges.map((m: string | string[]) => typeof m === "string" ? m : m.join(" "));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

Deno.test("tokenizer training: merges equal those of Hugging Face's own trainer", async () => {
  const lines = texts(400).map((text) => text + "\n");
  const expected = await trainInRust(lines);
  if (!expected) return; // the plain algorithm above says the same
  // Its defaults: 30,000 entries, every pair that occurs.
  assertEquals(trainTokenizer(lines, 30_000, { minimumCount: 1 }).model.merges, expected);
});
