import { messageOf, refusedPlace, UserError } from "../../core/errors.ts";
import { refuseForeign } from "../../core/files.ts";
import { join } from "../../core/std.ts";
import { command as demo } from "../../commands/demo.ts";
import { command as exportCorpus } from "../../commands/pipeline_export.ts";
import { group as evaluate } from "../../commands/evaluate.ts";
import type { Command } from "../../core/cli.ts";
import { parseInvocation } from "../../core/cli.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { refuseExisting } from "../../model/training/run_file.ts";
import { assertWritableFolder } from "../../model/weights/mod.ts";
import { ParquetReader } from "../../pipeline/documents/parquet_file.ts";
import { assert, assertEquals, assertRejects, assertThrows } from "../assert.ts";
import { silentReporter, withFolder } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";

Deno.test("refuseForeign() takes empty folders and those of its own, and names what is not", () =>
  withFolder((folder) => {
    const refused = (message: string) =>
      assertThrows(() => refuseForeign(folder, "a thing", (n) => n === "own"), UserError, message);
    refuseForeign(join(folder, "none"), "a thing");
    refuseForeign(folder, "a thing");
    Deno.writeTextFileSync(join(folder, "own"), "");
    Deno.writeTextFileSync(join(folder, ".DS_Store"), "");
    refuseForeign(folder, "a thing", (n) => n === "own");
    Deno.writeTextFileSync(join(folder, "thesis.tex"), "");
    refused(`Cannot write a thing to ${folder}: it holds thesis.tex; name a folder that is empty`);
    assertThrows(() => refuseForeign(join(folder, "own"), "x"), UserError, "it is a file");
  }));

const corpus = async (folder: string): Promise<string> => {
  const path = join(folder, "corpus");
  await runPipeline({
    corpus: path,
    source: join(ROOT, "fixtures/mirror"),
    tokenizer: join(ROOT, "fixtures/tokenizer.json"),
    files: "4-5",
    workers: 1,
  });
  return path;
};

Deno.test("every command refuses a folder that holds something of a user's, in the same words", () =>
  withFolder(async (folder) => {
    const mine = join(folder, "mine");
    Deno.mkdirSync(mine);
    Deno.writeTextFileSync(join(mine, "thesis.tex"), "years of work");
    const path = await corpus(folder);
    const run = (command: Command, ...words: string[]) =>
      command.run(parseInvocation(command, words, silentReporter(), new AbortController().signal));
    const bioasq = await evaluate.commands.bioasq?.load();
    if (!bioasq || "commands" in bioasq) throw new Error("there is no evaluate bioasq");
    const commands = [
      () => run(exportCorpus, "--corpus", path, "--format", "jsonl", "--out", mine),
      () => run(demo, "--out", mine),
      () => run(bioasq, "--gold", "none", "--system", "none", "--out", mine),
      () => runPipeline({ corpus: mine, source: "none", workers: 1 }).then(() => {}),
      async () => await refuseExisting(mine), // train and finetune
      async () => await assertWritableFolder(mine), // export, model extend
    ];
    for (const command of commands) {
      const { message } = await assertRejects(async () => await command(), UserError);
      const words = /^Cannot write .* to .*: it holds thesis\.tex; name a folder that is empty or/;
      assert(words.test(message), message);
    }
    assertEquals([...Deno.readDirSync(mine)].map((e) => e.name), ["thesis.tex"]);
  }));

Deno.test("the export for Hugging Face has year, journal and MeSH of each citation", () =>
  withFolder(async (folder) => {
    const path = await corpus(folder);
    const out = join(folder, "exported");
    const words = ["--corpus", path, "--format", "hf-dataset", "--out", out];
    const { signal } = new AbortController();
    await exportCorpus.run(parseInvocation(exportCorpus, words, silentReporter(), signal));
    const read = async (file: string) => {
      const reader = new ParquetReader(file);
      try {
        const count = (await reader.groups()).reduce((sum, rows) => sum + rows, 0);
        return await reader.rows<Record<string, unknown>>(0, count);
      } finally {
        reader.close();
      }
    };
    const documents = new Map<unknown, Record<string, unknown>>();
    for (const number of [4, 5]) {
      for (const row of await read(join(path, `documents/pubmed26n000${number}.parquet`))) {
        documents.set(`${row.pmid}.${row.version}`, row);
      }
    }
    const rows = await read(join(out, "data/train-00000.parquet"));
    assert(rows.length > 100 && rows.some(({ mesh }) => (mesh as string[]).length > 2));
    for (const { id, version, year, journal, mesh } of rows) {
      const known = documents.get(`${id}.${version}`);
      assertEquals(journal, known?.journal);
      assertEquals(mesh, (known?.mesh as { name: string }[]).map((m) => m.name));
      const { iso } = known?.published as { iso: string };
      assertEquals(year, iso ? Number(iso.slice(0, 4)) : null);
    }
  }));

Deno.test("a place that may not be written is told in one sentence, by what the system says", () => {
  const of = (message: string) => messageOf(new Error(message));
  assertEquals(
    of("Read-only file system (os error 30): open 'out/c.html.partial'"),
    "Cannot write out/c.html: its file system is read-only; name another place",
  );
  assertEquals(
    of("Permission denied (os error 13): mkdir 'runs/a'"),
    "Cannot make the folder runs/a: this user has no right to; change the rights of that file or folder, or " +
      "name another place",
  );
  assertEquals(
    refusedPlace(new Error("No such file or directory (os error 2): open 'a'")),
    undefined,
  );
});
