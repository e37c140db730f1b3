/** Runs every block of docs/tutorial.md with the fixtures' mirror and few steps. @module */
import { referencePage } from "../../scripts/reference.ts";
import { join } from "../../core/std.ts";
import { assert, assertEquals, assertStringIncludes } from "../assert.ts";
import { withFolder } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";

/** The shell blocks of a page, in order. */
const blocksOf = (page: string): string[] =>
  [...page.matchAll(/^```sh\n([^]*?)^```$/gm)].map((match) => match[1] ?? "");

const tutorial = () => Deno.readTextFileSync(join(ROOT, "docs/tutorial.md"));

Deno.test("the tutorial's commands and options exist, as the reference has them", async () => {
  const reference = await referencePage();
  const blocks = blocksOf(tutorial());
  assert(blocks.length >= 9, `${blocks.length} blocks`);
  let commands = 0;
  for (const line of blocks.join("\n").replaceAll("\\\n", " ").split("\n")) {
    const words = /^deno task (.*?)(?: >.*)?$/.exec(line)?.[1]?.trim().split(/\s+/);
    if (!words) continue;
    commands++;
    const bare = words.slice(0, words.findIndex((word) => word.startsWith("--")) >>> 0);
    const section = reference.split(/^## /m).find((s) => s.startsWith(`${bare.join(" ")}\n`)) ?? "";
    assert(section !== "", `the reference has no "${bare.join(" ")}"`);
    for (const word of words.filter((w) => w.startsWith("--"))) {
      assertStringIncludes(section, `\`${word}`, `${bare.join(" ")} ${word}`);
    }
  }
  assert(commands >= 10, `${commands} commands`);
});

Deno.test({
  name: "the tutorial's blocks run as they stand",
  ignore: Deno.build.os === "windows", // they are for a Unix shell
  fn: () =>
    withFolder(async (folder) => {
      const mirror = join(ROOT, "fixtures/mirror");
      const start = `-qP=launch "${join(ROOT, "scripts/start.ts")}"`;
      const given: Record<string, string> = { PUBMED: mirror, FILES: "1-2", STEPS: "12" };
      // `deno task` with its rights, in a folder of the test's own.
      const script = [
        "set -e",
        `deno() { shift; "${Deno.execPath()}" ${start} "$@"; }`,
        ...blocksOf(tutorial()).flatMap((block, i) => [
          `echo "block ${i + 1}" >&2`,
          block.replace(/^export (\w+)=.*$/gm, (_, name: string) =>
            `export ${name}="${given[name]}"`),
        ]),
      ].join("\n");
      const { code, stdout, stderr } = await new Deno.Command("bash", {
        args: ["-c", script],
        cwd: folder,
        env: { NO_COLOR: "1" },
      }).output();
      const said = new TextDecoder().decode(stdout);
      const log = new TextDecoder().decode(stderr);
      assertEquals(code, 0, log.slice(-3000));
      assertStringIncludes(said, "split: train");
      assertStringIncludes(log, "grad norm");
      assertStringIncludes(said, "95% interval");
      assertStringIncludes(said, "model.safetensors");
      assert([...Deno.readDirSync(join(folder, "first-model"))].length >= 5);
    }),
});
