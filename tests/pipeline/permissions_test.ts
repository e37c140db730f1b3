/** The pipeline under the least permissions: more than these the runtime refuses. @module */
import { join } from "../../core/std.ts";
import { assert, assertEquals, assertMatch } from "../assert.ts";
import { ROOT } from "../shared.ts";
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
      const corpus = join(folder, "corpus"), host = new URL(url).host;
      Deno.mkdirSync(corpus);
      const beside = [corpus, corpus + ".next", corpus + ".old"].join();
      const permissions = (net: string) => [
        `--allow-net=${net}`,
        `--allow-read=${ROOT},${beside}`,
        `--allow-write=${beside}`,
      ];
      const run = (net: string, to: string) =>
        program(
          permissions(net),
          ...[
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
          ],
          ...["--retry-delay", "0"],
        );
      const good = await run(host, corpus);
      assertEquals(good.code, 0, good.log);
      assert((await documentsOf(corpus)).length > 0);

      const elsewhere = await run(host, join(folder, "elsewhere"));
      assertEquals(elsewhere.code, 1);
      assertMatch(elsewhere.log, /Requires (read|write) access to .*elsewhere/);
      assertEquals([...Deno.readDirSync(folder)].map((e) => e.name), ["corpus"]);

      const otherHost = await run("localhost:1", corpus);
      assertEquals(otherHost.code, 1);
      assertMatch(otherHost.log, /Requires net access to "127\.0\.0\.1/);
    })
  ));

Deno.test("with a folder as the source the program gives the network up", () =>
  withFolder(async (folder) => {
    const corpus = join(folder, "corpus");
    const { code, log } = await program(
      ["--allow-read", `--allow-write=${folder}`],
      ...["pipeline", "run", "--source", FIXTURES, "--corpus", corpus, "--files", "5"],
    );
    assertEquals(code, 0, log);
  }));
