/**
 * The crontab line of docs/schedule, run by Debian's cron: part of `deno task test:faults`, since a
 * minute is the least that cron waits. Needs root and /usr/sbin/cron.
 * @module
 */
import { join } from "../../core/std.ts";
import { exists } from "../../core/files.ts";
import { runPipeline } from "../../pipeline/run.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { ROOT } from "../shared.ts";
import { ALL_FAULTS } from "./faults.ts";
import { article, digestOf, pubmedSet, putFile, withFolder } from "./support.ts";

const LINE = Deno.readTextFileSync(join(ROOT, "docs/schedule/crontab")).split("\n")
  .find((line) => line && !line.startsWith("#"))!;
const DAEMON = "/usr/sbin/cron";
const TABLE = "/etc/cron.d/pubmamba-test";
const able = ALL_FAULTS && Deno.build.os === "linux" &&
  Deno.uid() === 0 && exists(DAEMON);

Deno.test("the crontab line has cron's six fields and a lock", () => {
  const [minute, hour, day, month, weekday, user, ...command] = LINE.split(/\s+/);
  assertEquals([minute, hour, day, month, weekday, user], ["30", "20", "*", "*", "*", "pubmamba"]);
  assertStringIncludes(command.join(" "), "flock -n");
  assert(!LINE.includes("%"), "cron takes % for a line end");
});

Deno.test({
  name: `cron refreshes a corpus${able ? "" : " (skipped: needs test:faults, root and cron)"}`,
  ignore: !able,
  fn: () =>
    withFolder(async (folder) => {
      const [mirror, corpus, plain] = ["mirror", "corpus", "plain"].map((n) => join(folder, n)) as [
        string,
        string,
        string,
      ];
      putFile(mirror, "baseline", 1, pubmedSet(article(1), article(2)));
      await runPipeline({ source: mirror, corpus, workers: 1 });
      putFile(mirror, "updatefiles", 2, pubmedSet(article(2, { title: "new" }), article(3)));
      await runPipeline({ source: mirror, corpus: plain, workers: 1 });
      const line = LINE.replace("30   20", "* *").replace(" pubmamba ", " root ")
        .replace("/opt/pubmamba", ROOT).replaceAll("/var/lib/pubmamba", folder)
        .replace("/usr/local/bin/deno", Deno.execPath());
      const environment = Deno.env.get("DENO_DIR") ? `DENO_DIR=${Deno.env.get("DENO_DIR")}\n` : "";
      Deno.writeTextFileSync(TABLE, `HOME=${Deno.env.get("HOME")}\n${environment}${line}\n`);
      const cron = new Deno.Command(DAEMON, { args: ["-f"], stdout: "null", stderr: "null" })
        .spawn();
      try {
        const wanted = join(corpus, "documents/pubmed26n0002.parquet");
        const end = Date.now() + 100_000;
        while (!exists(wanted) && Date.now() < end) await new Promise((r) => setTimeout(r, 500));
        await new Promise((r) => setTimeout(r, 2000));
      } finally {
        cron.kill("SIGTERM");
        await cron.status;
        Deno.removeSync(TABLE);
      }
      assertEquals(
        digestOf(corpus),
        digestOf(plain),
        Deno.readTextFileSync(join(folder, "refresh.log")),
      );
    }),
});
