import { UserError } from "../../../core/errors.ts";
import { openMix } from "../../../model/training/mixed_corpus.ts";
import { openCorpus } from "../../../model/training/shard_corpus.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { standard, textOf } from "../../pipeline/token_corpus.ts";

Deno.test("a mix draws rows of its corpora by their shares, and is known by a hash of all", async () => {
  using one = standard();
  using two = standard();
  two.documents.clear();
  two.tokenFiles.length = 0;
  two.add("other", 5000, 5200, () => false, (pmid) => textOf(pmid).toUpperCase());
  await one.build();
  await two.build();
  const text = `${one.folder}=0.75,${two.folder}=0.25`;
  using mix = openMix(text);
  using first = openCorpus(one.folder);
  using second = openCorpus(two.folder);
  const rows = mix.split("train");
  const all = new Map<string, number>();
  for (const [i, corpus] of [first, second].entries()) {
    const split = corpus.split("train");
    for (let r = 0; r < split.rows; r++) all.set(split.row(r).join(), i);
    assert(split.rows > 20, `${split.rows} rows`);
  }
  // Shares are of tokens: the second corpus, padded more, gives more rows than a quarter.
  const drawn = [0, 0];
  const tokens = [0, 0];
  for (let i = 0; i < 1000; i++) {
    const row = rows.draw!(3, i);
    const source = all.get(row.join())!;
    const padding = row.toReversed().findIndex((id) => id !== mix.endOfText);
    drawn[source]!++;
    tokens[source]! += row.length - padding;
  }
  const share = tokens[1]! / (tokens[0]! + tokens[1]!);
  assert(Math.abs(share - 0.25) < 0.02, `${share} of the tokens`);
  assertEquals(drawn, [738, 262]); // exactly the quotas
  assertEquals(rows.draw!(3, 512), openMix(text).split("train").draw!(3, 512));
  assertEquals(mix.path, text);
  assert(mix.manifestSha256 !== first.manifestSha256);
  assert(openMix(`${one.folder}=0.7,${two.folder}=0.3`).manifestSha256 !== mix.manifestSha256);
  const held = mix.split("validation");
  const own = first.split("validation");
  assertEquals(held.rows, own.rows + second.split("validation").rows);
  assertEquals(held.row(own.rows), second.split("validation").row(0));
});

Deno.test("corpora that do not go together are not mixed", async () => {
  using one = standard();
  using two = standard();
  using other = standard(true);
  await one.build();
  await two.build({ sequenceLength: 64 });
  await other.build();
  const mixed = (folder: string) => () => openMix(`${one.folder}=0.5,${folder}=0.5`);
  assertThrows(mixed(two.folder), UserError, "sequence lengths are 32 and 64");
  assertThrows(mixed(other.folder), UserError, "tokenizers differ");
  assertThrows(mixed("nowhere"), UserError, "there is no such folder");
  const texts = Deno.makeTempDirSync();
  Deno.writeTextFileSync(`${texts}/a.jsonl`, '{"text":"a"}\n');
  assertThrows(
    mixed(texts),
    UserError,
    `a folder of texts, of which "pipeline run --source ${texts}`,
  );
  Deno.removeSync(texts, { recursive: true });
});
