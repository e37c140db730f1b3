/** The pipeline under the least permissions: more than these the runtime refuses. @module */
import { join, resolve } from "../../core/std.ts";
import { assert, assertEquals, assertMatch } from "../assert.ts";
import { rightsFor } from "../../commands/permissions.ts";
import { ROOT, runTask } from "../shared.ts";
import { documentsOf, withFolder, withServer } from "./support.ts";

const FIXTURES = join(ROOT, "fixtures/mirror");

/** Runs the program with the given permissions; what DENO_DIR holds is readable to any program. */
async function program(permissions: string[], ...args: string[]) {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", ...permissions, join(ROOT, "main.ts"), ...args],
    stdout: "null",
  }).output();
  return { code, log: new TextDecoder().decode(stderr) };
}

Deno.test("network to the mirror alone, reads and writes under the corpus alone, are enough", () =>
  withFolder((folder) =>
    withServer(FIXTURES, async (url) => {
      const corpus = join(folder, "corpus");
      const host = new URL(url).host;
      Deno.mkdirSync(corpus);
      const permissions = (net: string) => [
        `--allow-net=${net}`,
        `--allow-read=${ROOT},${corpus}`,
        `--allow-write=${corpus}`,
      ];
      const run = (net: string, to: string) =>
        program(
          permissions(net),
          "pipeline",
          "run",
          "--source",
          url,
          "--corpus",
          to,
          "--files",
          "4-5",
          "--workers",
          "2",
          "--retry-delay",
          "0",
        );
      const good = await run(host, corpus);
      assertEquals(good.code, 0, good.log);
      assert((await documentsOf(corpus)).length > 0);

      const elsewhere = await run(host, join(folder, "elsewhere"));
      assertEquals(elsewhere.code, 1);
      assertMatch(
        elsewhere.log,
        /no right to (read|write) "\S+elsewhere\S*"; name that file or folder/,
      );
      assertEquals([...Deno.readDirSync(folder)].map((e) => e.name), ["corpus"]);

      const otherHost = await run("localhost:1", corpus);
      assertEquals(otherHost.code, 1);
      assertMatch(otherHost.log, /this task has no right to reach "127\.0\.0\.1.*; a task reaches/);
    })
  ));

Deno.test("with a folder as the source the program gives the network up", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    const { code, log } = await program(
      ["--allow-read", `--allow-write=${folder}`],
      "pipeline",
      "run",
      "--source",
      FIXTURES,
      "--corpus",
      corpus,
      "--files",
      "5",
    );
    assertEquals(code, 0, log);
  }));

/** What a program may try that no pipeline needs; each line is what the runtime says to it. */
const PROBE = `
const [inside, outside, host] = Deno.args;
const say = (line) => Deno.stdout.writeSync(new TextEncoder().encode(line + "\\n"));
const tries = {
  writeInside: () => Deno.writeTextFileSync(inside + "/probe", "x"),
  readInside: () => Deno.readTextFileSync(inside + "/probe"),
  readOutside: () => Deno.readTextFileSync(outside),
  readPassword: () => Deno.readTextFileSync("/etc/passwd"),
  writeOutside: () => Deno.writeTextFileSync(outside, "x"),
  escape: () => Deno.writeTextFileSync(inside + "/../escaped", "x"),
  fetchMirror: () => fetch("http://" + host + "/").then((r) => r.text()),
  fetchOther: () => fetch("http://localhost:65001/"),
  otherPort: () => fetch("http://127.0.0.1:65001/"),
  listen: () => Deno.listen({ port: 0 }).close(),
  run: () => new Deno.Command("true").outputSync(),
  environment: () => Deno.env.get("HOME"),
  importRemote: () => import(["https", "//deno.land/std/mod.ts"].join(":")),
  importPackage: () => import(["npm", "a-package-of-nobody@1.0.0"].join(":")),
  system: () => Deno.hostname(),
  library: () => Deno.dlopen("/lib/x.so", {}),
};
for (const [name, action] of Object.entries(tries)) {
  try {
    await action();
    say(name + " done");
  } catch (error) {
    say(name + " " + (/cached-only|no-remote/.exec(error.message)?.[0] ?? error.name));
  }
}`;

/** The words of the process that runs main.ts on `corpus`, started by somebody else. */
function wordsOf(corpus: string): string[] {
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const words = Deno.readTextFileSync(`/proc/${name}/cmdline`).split("\0");
      if (words.includes(corpus) && words.some((w) => w.endsWith("main.ts"))) return words;
    } catch { /* it has just ended */ }
  }
  return [];
}

Deno.test({
  name: "the pipeline's task runs with the mirror's host and the given folders alone",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    withFolder(async (folder) => {
      const corpus = join(folder, "corpus");
      const outside = join(folder, "outside");
      Deno.writeTextFileSync(outside, "private");
      Deno.writeTextFileSync(join(folder, "probe.ts"), PROBE);
      let flags: string[] = [];
      let probed = "";
      const task = async (...words: string[]) => {
        const { code, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["task", "--cwd", ROOT, "pipeline", ...words, "--corpus", corpus],
          stdout: "null",
        }).output();
        assertEquals(code, 0, new TextDecoder().decode(stderr));
      };
      const probe = async (host: string) => {
        const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["run", ...flags, join(folder, "probe.ts"), corpus, outside, host],
        }).output();
        return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      };
      await withServer(FIXTURES, async (url) => {
        const { host } = new URL(url);
        await task("run", "--source", url, "--files", "4", "--workers", "1");
        probed = await probe(host);
        Deno.removeSync(join(corpus, "probe"));
        // A refresh finds the host in the catalogue.
        flags = [];
        await task("refresh", "--files", "all", "--workers", "1");
        assertEquals(flags, [
          "--no-prompt",
          "--no-remote",
          "--cached-only",
          `--allow-read=${[corpus, resolve(ROOT)].sort()}`,
          `--allow-write=${corpus}`,
          `--allow-net=${host}`,
          "--allow-env=PUBMAMBA_CALLED_AS,PUBMAMBA_LAUNCHER",
          "--allow-sys=systemMemoryInfo",
        ]);
      }, (_request, path) => {
        // The program is at work while it asks: see with what it was started.
        if (path.endsWith(".gz") && flags.length === 0) {
          const words = wordsOf(corpus);
          flags = words.slice(2, words.findIndex((w) => w.endsWith("main.ts")));
        }
        return undefined;
      });
      assertEquals(
        probed.trim().split("\n"),
        [
          "writeInside done",
          "readInside done",
          "readOutside NotCapable",
          "readPassword NotCapable",
          "writeOutside NotCapable",
          "escape NotCapable",
          "fetchMirror done",
          "fetchOther NotCapable",
          "otherPort NotCapable",
          "listen NotCapable",
          "run NotCapable",
          "environment NotCapable",
          "importRemote no-remote",
          "importPackage cached-only",
          "system NotCapable",
          "library NotCapable",
        ],
      );
      assertEquals(Deno.readTextFileSync(outside), "private");
      assert((await documentsOf(corpus)).length > 0);
    }),
});

Deno.test("the rights of a command line are its paths and its host", () =>
  withFolder(async (folder) => {
    const at = (name: string) => join(folder, name);
    const of = async (...words: string[]) => (await rightsFor(["pipeline", ...words], ROOT)).lists;
    const https = await of("run", "--source=https://ftp.example.org/pubmed/", "--corpus", at("c"));
    assertEquals(https.net, ["ftp.example.org"]);
    assertEquals(https.write, [at("c")]);
    const local = await of("run", "--source", at("texts"), "--corpus", at("c"));
    assertEquals([local.net, local.read.includes(at("texts"))], [[], true]);
    const out = await of("tokenize", "--input", at("texts"), "--output", at("new/ids.npy"));
    const ids = (folder: string) =>
      ["ids.npy", "ids.npy.partial", "ids.offsets.npy", "ids.offsets.npy.partial"]
        .map((name) => at(join(folder, name)));
    assertEquals(out.write, [at("new"), ...ids("new")]);
    const beneath = await of("tokenize", "--input", at("texts"), "--output", at("ids.npy"));
    assertEquals(beneath.write, ids("."));
    // Read or found missing by the command, which says what to do.
    assert((await of("run", "--tokenizer", at("none.json"))).read.includes(at("none.json")));
    for (const reading of ["status", "verify", "documents", "locate", "where", "sample"]) {
      assertEquals((await of(reading, "--corpus", at("c"))).write, [], reading);
    }
    const long = await of("sample", "--corpus", at("c"), "--filter", "x".repeat(5000) + ">=1");
    assertEquals(long.read, [at("c"), resolve(ROOT)].sort());
  }));

Deno.test("a path with a comma is refused in a sentence, before anything starts", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "a,b");
    const { code, stderr } = await runTask(["pipeline", "status", "--corpus", corpus]);
    assertEquals(code, 1);
    assertMatch(stderr, /^Cannot use \S+a,b: the comma in its name would cut it in two/);
  }));

Deno.test("reading commands work on a corpus that they may not write", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    const tokenizer = join(ROOT, "fixtures/tokenizer.json");
    const done = async (...words: string[]) => {
      const { code, stdout, stderr } = await runTask(["pipeline", ...words, "--corpus", corpus]);
      assertEquals(code, 0, stderr);
      return stdout;
    };
    await done("run", "--source", FIXTURES, "--files", "5", "--tokenizer", tokenizer);
    assertMatch(await done("status"), /files +1/);
    assertMatch(await done("verify"), /1 files, .* all as written/);
    const [first] = (await done("documents")).split("\n");
    const { pmid } = JSON.parse(first!);
    const place = JSON.parse(await done("where", "--pmid", String(pmid), "--json"));
    const row = String(place.pieces[0]?.row ?? 0);
    const shard = place.shard || "train-00000";
    assertMatch(await done("locate", "--shard", shard, "--row", row), /PMID \d+ version/);
    assertMatch(await done("sample", "--batch-size", "1"), /"tokens":\[/);
    assertMatch(await done("export", "--format", "jsonl", "--out", join(folder, "texts")), /./);
  }));

Deno.test("every command of the pipeline does its work with its task's rights", () =>
  withFolder(async (cwd) => {
    const tokenizer = join(ROOT, "fixtures/tokenizer.json");
    const done = async (...words: string[]) => {
      const { code, stderr } = await runTask(["pipeline", ...words], { cwd });
      assertEquals(code, 0, `${words.join(" ")}: ${stderr}`);
    };
    const row = (i: number) => ({ id: `d${i}`, text: `Text ${i} of cells and drugs. `.repeat(8) });
    const lines = (from: number) =>
      Array.from({ length: 60 }, (_, i) => JSON.stringify(row(from + i)) + "\n").join("");
    Deno.mkdirSync(join(cwd, "texts"));
    Deno.writeTextFileSync(join(cwd, "texts/a.jsonl"), lines(0));
    Deno.writeTextFileSync(join(cwd, "items.jsonl"), JSON.stringify(row(5)) + "\n");
    const rows = ["--tokenizer", tokenizer, "--sequence-length", "64"];
    await done("run", "--source", FIXTURES, "--corpus", "pubmed", "--files", "4-5", ...rows);
    await done("run", "--source", "texts", "--corpus", "web", ...rows);
    Deno.writeTextFileSync(join(cwd, "texts/b.jsonl"), lines(60));
    for (const corpus of ["web", "pubmed"]) {
      await done("refresh", "--corpus", corpus);
      await done("status", "--corpus", corpus);
      await done("duplicates", "--corpus", corpus, "--out", `${corpus}.pairs.jsonl`);
      await done("export", "--corpus", corpus, "--format", "jsonl", "--out", `exported/${corpus}`);
    }
    await done("decontaminate", "--corpus", "web", "--against", "items.jsonl");
    await done("decontaminate", "--corpus", "pubmed", "items.jsonl");
    for (const corpus of ["web", "pubmed"]) await done("verify", "--corpus", corpus);
    await done("report", "--corpus", "pubmed");
    await done("report", "--corpus", "pubmed", "--out", "pages/report.html");
    await done("sample", "--mix", "pubmed=0.5,web=0.5", "--batch-size", "2");
    const learnt = ["--vocab-size", "300", "--out", "tokenizers/new.json"];
    await done("train-tokenizer", "--corpus", "pubmed", ...learnt);
    await done("train-tokenizer", "--input", "texts/a.jsonl", ...learnt);
    // A folder of texts gives the same as its files do, before any corpus is made of it.
    await done(
      "train-tokenizer",
      "--input",
      "texts/a.jsonl",
      "--input",
      "texts/b.jsonl",
      ...learnt,
    );
    const ofFiles = Deno.readTextFileSync(join(cwd, "tokenizers/new.json"));
    await done("train-tokenizer", "--input", "texts", ...learnt);
    assert(Deno.readTextFileSync(join(cwd, "tokenizers/new.json")) === ofFiles);
    const more = ["--input", "texts/a.jsonl", "--add", "4", "--out", "extended.json"];
    await done("extend-tokenizer", "--tokenizer", "tokenizers/new.json", ...more);
    await done("compare-tokenizers", "extended.json", tokenizer, "--input", "texts/a.jsonl");
    const text = ["--tokenizer", tokenizer, "--input", "texts/a.jsonl"];
    await done("tokenize", ...text, "--output", "ids/a.npy");
    await done("tokenize", ...text, "--output=b.npy");
    assertEquals([...Deno.readDirSync(cwd)].map(({ name }) => name).sort(), [
      "b.npy",
      "b.offsets.npy",
      "exported",
      "extended.json",
      "ids",
      "items.jsonl",
      "pages",
      "pubmed",
      "pubmed.pairs.jsonl",
      "texts",
      "tokenizers",
      "web",
      "web.pairs.jsonl",
    ]);
  }));
