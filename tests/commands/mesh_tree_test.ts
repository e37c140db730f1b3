import { readMeshTree } from "../../commands/mesh_tree.ts";
import { UserError } from "../../core/errors.ts";
import { join } from "../../core/std.ts";
import { assertEquals, assertThrows } from "../assert.ts";

Deno.test("readMeshTree() gives each heading its branches by name", () => {
  const folder = Deno.makeTempDirSync(), file = join(folder, "mtrees.bin");
  try {
    Deno.writeTextFileSync(
      file,
      "Gland Growths;C91\r\nGland Cysts;C91.100.5\nGland Cysts;A02.7\n\n",
    );
    const branches = readMeshTree(file);
    assertEquals(branches("Gland Cysts"), ["C91 Gland Growths", "A02"]);
    assertEquals(branches("Nothing"), []);
    Deno.writeTextFileSync(file, "Gland Growths;C91\nno number\n");
    assertThrows(() => readMeshTree(file), UserError, 'line 2 is "no number"');
    assertThrows(() => readMeshTree(join(folder, "none")), UserError, "Cannot read the MeSH tree");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
