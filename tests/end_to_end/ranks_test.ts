import { command as sample } from "../../commands/pipeline_sample.ts";
import { parseInvocation } from "../../core/cli.ts";
import { join, toFileUrl } from "../../core/std.ts";
import { openCorpus } from "../../model/training/shard_corpus.ts";
import { rankRows, stepBatches } from "../../model/training/rows.ts";
import { openMix } from "../../model/training/mixed_corpus.ts";
import { assertEquals } from "../assert.ts";
import { silentReporter } from "../model/helpers.ts";
import { standard } from "../pipeline/token_corpus.ts";
import { ROOT } from "../shared.ts";

Deno.test("the example of docs/shards.md reads a rank's share of what train reads", async () => {
  using built = standard();
  await built.build();
  const parent = Deno.makeTempDirSync();
  try {
    Deno.symlinkSync(built.folder, join(parent, "corpus"));
    const text = Deno.readTextFileSync(join(ROOT, "docs/shards.md"));
    const example = /```ts\n([^]*?)```/.exec(text)![1]!;
    const program = join(parent, "example.ts");
    const take = "(step: number, place: number, tokens: Uint16Array) =>\n" +
      "  consoleReporter().line(JSON.stringify([step, place, [...tokens]]))";
    Deno.writeTextFileSync(
      program,
      `import { consoleReporter, openCorpus, rankRows } from "${
        toFileUrl(join(ROOT, "mod.ts"))
      }";\nconst take = ${take};\n${example}`,
    );
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--config", join(ROOT, "deno.json"), program],
      cwd: parent,
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    const lines = new TextDecoder().decode(stdout).trim().split("\n").map((l) => JSON.parse(l));

    using corpus = openCorpus(built.folder);
    const train = corpus.split("train");
    const batch = { rows: 8, accumulate: 1 };
    const [rank, ranks, rows] = [1, 4, 8];
    const expected: unknown[] = [];
    for (const step of [1, 2, 3]) {
      const first = (step - 1) * rows;
      const length = corpus.sequenceLength;
      const [whole] = stepBatches(train, first, { seed: 0, batch }, corpus);
      for (let i = rank * rows / ranks; i < (rank + 1) * rows / ranks; i++) {
        expected.push([step, first + i, [...whole!.tokens.subarray(i * length, (i + 1) * length)]]);
      }
    }
    assertEquals(lines, expected);

    // The command prints the same, and the ranks of a mix have all of it among them.
    const reporter = silentReporter();
    const { signal } = new AbortController();
    const words = ["--step", "2", "--batch-size", "8", "--rank", "1", "--ranks", "4"];
    const invocation = ["--corpus", built.folder, ...words];
    await sample.run(parseInvocation(sample, invocation, reporter, signal));
    const printed = reporter.lines.map((l) => JSON.parse(l));
    assertEquals(printed.map(({ place, tokens }) => [2, place, tokens]), expected.slice(2, 4));
    using mix = openMix(`${built.folder}=1`);
    const request = { step: 5, rows: 12, seed: 3, ranks: 1 };
    const source = mix.split("train");
    const all = [...rankRows(source, { ...request, rank: 0 })];
    for (const ranks of [2, 3, 12]) {
      const shares = Array.from({ length: ranks }, (_, r) => r)
        .flatMap((rank) => [...rankRows(source, { ...request, rank, ranks })]);
      assertEquals(shares, all);
    }
  } finally {
    Deno.removeSync(parent, { recursive: true });
  }
});
