/**
 * The real program killed at random moments: whatever it was doing, the next run ends in the bytes
 * of an undisturbed one. `deno task test:faults` kills 50 runs and 50 refreshes at least.
 * @module
 */
import { join } from "../../core/std.ts";
import { UserError } from "../../core/errors.ts";
import { exists } from "../../core/files.ts";
import { Catalogue } from "../../pipeline/catalogue/catalogue.ts";
import { readCatalogue } from "../../pipeline/corpus.ts";
import { verifyCorpus } from "../../pipeline/verify.ts";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "../assert.ts";
import { faults, random } from "./faults.ts";
import { badMirror } from "./bad_mirror.ts";
import { corpusWords, FIXTURES, killUntilDone, startPipeline } from "./killed.ts";
import { digestOf, documentsOf, withFolder, withServer } from "./support.ts";

/** At least so many of a run, and as many of a refresh. */
const KILLS = faults(2, 8, 50);

const start = (args: string[]) => startPipeline([...args, "--workers", "2"]);

/** Runs `args` to their end; returns the log. */
async function finish(args: string[]): Promise<string> {
  const output = await start(args).output();
  const log = new TextDecoder().decode(output.stderr);
  assertEquals(output.code, 0, log);
  return log;
}

/** How long `args` take undisturbed, in milliseconds. */
async function timeOf(args: string[]): Promise<number> {
  const begin = performance.now();
  await finish(args);
  return performance.now() - begin;
}

const killed = (args: string[], next: () => number, longest: number) =>
  killUntilDone([...args, "--workers", "2"], next, longest);

async function isWhole(corpus: string): Promise<void> {
  const catalogue = readCatalogue(corpus);
  try {
    assertEquals((await verifyCorpus(corpus)).problems, []);
  } finally {
    catalogue.close();
  }
}

const runOf = (corpus: string, ...more: string[]) => [
  "run",
  "--source",
  FIXTURES,
  ...corpusWords(corpus),
  ...more,
];

Deno.test("a run and a refresh killed at random moments end in the same bytes", () =>
  withFolder(async (folder) => {
    const plain = join(folder, "plain");
    const first = join(folder, "first");
    await finish(runOf(plain));
    const running = await timeOf(runOf(first, "--files", "1-3"));
    const refreshing = await timeOf(["refresh", "--files", "all", "--corpus", first]);
    // First a part of the files, then all of them as a refresh; anew until there were kills enough.
    const next = random(1);
    const documents = await documentsOf(plain);
    for (let runs = 0, refreshes = 0, round = 0; Math.min(runs, refreshes) < KILLS; round++) {
      const corpus = join(folder, `killed${round}`);
      runs += await killed(runOf(corpus, "--files", "1-3"), next, running);
      await isWhole(corpus);
      refreshes += await killed(
        ["refresh", "--files", "all", "--corpus", corpus],
        next,
        refreshing,
      );
      await isWhole(corpus);
      assertEquals(digestOf(corpus), digestOf(plain));
      assertEquals(await documentsOf(corpus), documents);
      if (round === 0) {
        assertStringIncludes(
          await finish(["refresh", "--files", "all", "--corpus", corpus]),
          "Nothing to do",
        );
      }
      Deno.removeSync(corpus, { recursive: true });
    }
  }));

Deno.test("a refresh from a bad mirror, killed at random moments, ends in the same bytes", () =>
  withFolder(async (folder) => {
    const plain = join(folder, "plain");
    const next = random(2);
    const whole = await timeOf(runOf(plain));
    await withServer(FIXTURES, async (url) => {
      const fast = ["--retry-delay", "0.002", "--read-timeout", "2"];
      for (let kills = 0, round = 0; kills < KILLS; round++) {
        const corpus = join(folder, `killed${round}`);
        await finish(runOf(corpus, "--files", "1"));
        const refresh = ["refresh", "--files", "all", "--corpus", corpus, "--source", url, ...fast];
        kills += await killed(refresh, next, whole);
        await isWhole(corpus);
        assertEquals(digestOf(corpus), digestOf(plain));
        assert(!exists(join(corpus, "raw")), "downloads were left behind");
        // The mirror is the corpus's own from now on.
        assertStringIncludes(
          await finish(["refresh", "--files", "all", "--corpus", corpus]),
          "Nothing to do",
        );
        Deno.removeSync(corpus, { recursive: true });
      }
    }, badMirror(FIXTURES, next));
  }));

Deno.test("an interrupted run saves, says so and exits with 130", () =>
  withFolder(async (corpus) => {
    const process = start(["run", "--source", FIXTURES, ...corpusWords(corpus)]);
    while (!exists(join(corpus, "documents"))) await new Promise((r) => setTimeout(r, 5));
    process.kill("SIGINT");
    const { code, stderr } = await process.output();
    assertEquals(code, 130);
    assertStringIncludes(new TextDecoder().decode(stderr), "goes on from here");
    if (exists(join(corpus, "documents"))) {
      for (const entry of Deno.readDirSync(join(corpus, "documents"))) {
        assert(!entry.name.endsWith(".partial"), entry.name);
      }
    }
    await finish(["run", "--source", FIXTURES, ...corpusWords(corpus)]);
    await isWhole(corpus);
  }));

Deno.test("a second refresh at the same time says so and exits with 0", () =>
  withFolder(async (corpus) => {
    await finish(["run", "--source", FIXTURES, "--files", "5", ...corpusWords(corpus)]);
    const lock = Deno.openSync(join(corpus, ".lock"), { write: true });
    lock.lockSync(true);
    try {
      assertStringIncludes(
        await finish(["refresh", "--files", "all", "--corpus", corpus]),
        "another process",
      );
      const { code } = await start(["run", "--source", FIXTURES, "--corpus", corpus]).output();
      assertEquals(code, 1);
    } finally {
      lock.close();
    }
  }));

const mountable = Deno.build.os === "linux" && Deno.uid() === 0;

Deno.test({
  name: "a full disk is told plainly and leaves the last good corpus",
  ignore: !mountable,
  fn: () =>
    withFolder(async (folder) => {
      const disk = join(folder, "disk");
      const corpus = join(disk, "corpus");
      Deno.mkdirSync(disk);
      const system = (command: string, ...args: string[]) =>
        new Deno.Command(command, { args }).outputSync().success;
      if (!system("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", disk)) return; // no right to
      try {
        await finish(["run", "--source", FIXTURES, "--files", "4-5", ...corpusWords(corpus)]);
        const before = await documentsOf(corpus);
        const free = (left: number) => {
          const stat = new Deno.Command("df", { args: ["--output=avail", "-B1", disk] })
            .outputSync();
          const size = Number(new TextDecoder().decode(stat.stdout).split("\n")[1]) - left;
          Deno.writeFileSync(join(disk, "filler"), new Uint8Array(Math.max(0, size)));
        };
        free(150_000);
        const { code, stderr } = await start(["refresh", "--files", "all", "--corpus", corpus])
          .output();
        const message = new TextDecoder().decode(stderr);
        assertEquals(code, 1, message);
        assertStringIncludes(message, "disk is full");
        assertEquals(await documentsOf(corpus), before);
        Deno.removeSync(join(disk, "filler"));
        await finish(["refresh", "--files", "all", "--corpus", corpus]);
        await isWhole(corpus);
        assert((await documentsOf(corpus)).length > before.length);
      } finally {
        system("umount", disk);
      }
    }),
});

Deno.test({
  name: "a catalogue that a full disk keeps from being opened is not called damaged",
  ignore: !mountable,
  fn: () =>
    withFolder((folder) => {
      const system = (command: string, ...args: string[]) =>
        new Deno.Command(command, { args }).outputSync().success;
      const disk = join(folder, "disk");
      Deno.mkdirSync(disk);
      if (!system("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)) return; // no right to
      try {
        const path = join(disk, "catalogue.sqlite");
        new Catalogue(path).close();
        const filler = Deno.openSync(join(disk, "filler"), { write: true, create: true });
        try {
          assertThrows(() => {
            for (;;) filler.writeSync(new Uint8Array(4096));
          });
        } finally {
          filler.close();
        }
        const error = assertThrows(() => new Catalogue(path), UserError);
        assertStringIncludes(error.message, "the disk is full");
        Deno.removeSync(join(disk, "filler"));
        new Catalogue(path).close();
      } finally {
        system("umount", disk);
      }
    }),
});
