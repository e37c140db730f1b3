import { join, toFileUrl } from "../../core/std.ts";
import * as api from "../../mod.ts";
import { assert, assertEquals } from "../assert.ts";
import { withFolder } from "../model/helpers.ts";
import { ROOT } from "../shared.ts";

Deno.test("the example of mod.ts runs as it is written", () =>
  withFolder(async (dir) => {
    const source = Deno.readTextFileSync(join(ROOT, "mod.ts"));
    const example = /```ts\n([^]*?) \* ```/.exec(source)![1]!.replace(/^ \* ?/gm, "");
    const names = Object.keys(api).filter((name) => new RegExp(`\\b${name}\\(`).test(example));
    const program = join(dir, "example.ts");
    Deno.writeTextFileSync(
      program,
      `import { ${names.join(", ")} } from "${toFileUrl(join(ROOT, "mod.ts"))}";\n` +
        example,
    );
    Deno.copyFileSync(join(ROOT, "fixtures", "tokenizer.json"), join(dir, "tokenizer.json"));
    Deno.mkdirSync(join(dir, "mirror", "baseline"), { recursive: true });
    for (const name of ["pubmed26n0001.xml.gz", "pubmed26n0001.xml.gz.md5"]) {
      const file = join("mirror", "baseline", name);
      Deno.copyFileSync(join(ROOT, "fixtures", file), join(dir, file));
    }
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--config", join(ROOT, "deno.json"), program],
      cwd: dir,
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assertEquals(code, 0, text(stderr));
    assert(text(stdout).trim().length > 0, "it writes");
    assert(Deno.statSync(join(dir, "model", "model.safetensors")).isFile);
  }));
