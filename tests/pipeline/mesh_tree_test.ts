import { gzipSync } from "node:zlib";
import { findMeshTree, readMeshTree } from "../../pipeline/facets/mesh_tree.ts";
import { UserError } from "../../core/errors.ts";
import { join } from "../../core/std.ts";
import { assertEquals, assertRejects, assertThrows } from "../assert.ts";

Deno.test("readMeshTree() gives each heading its branches by name", async () => {
  const folder = Deno.makeTempDirSync();
  const file = join(folder, "mtrees.bin");
  try {
    Deno.writeTextFileSync(
      file,
      "Gland Growths;C91\r\nGland Cysts;C91.100.5\nGland Cysts;A02.7\n\n",
    );
    const branches = await readMeshTree(file);
    assertEquals(branches("Gland Cysts"), ["C91 Gland Growths", "A02"]);
    assertEquals(branches("Nothing"), []);
    Deno.writeTextFileSync(file, "Gland Growths;C91\nno number\n");
    const fails = (path: string, message: string) =>
      assertRejects(() => readMeshTree(path), UserError, message);
    await fails(file, 'line 2 is "no number"');
    await fails(join(folder, "none"), "Cannot read the MeSH tree");
    Deno.writeTextFileSync(file, "");
    await fails(file, "it has no headings");
    Deno.writeTextFileSync(file, "<DescriptorRecordSet><DescriptorRecord></DescriptorRecordSet>");
    await fails(file, "Cannot use the MeSH tree");
    Deno.writeFileSync(file, gzipSync("Gland Growths;C91").subarray(0, 20));
    await fails(file, "Cannot read the MeSH tree");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

/** A small file of the form of NLM's descYYYY.xml. */
const DESCRIPTORS = `<?xml version="1.0"?>
<!DOCTYPE DescriptorRecordSet SYSTEM "https://www.nlm.nih.gov/databases/dtd/nlmdescriptorrecordset_20260101.dtd">
<DescriptorRecordSet LanguageCode="eng">
<DescriptorRecord DescriptorClass="1">
  <DescriptorUI>D900001</DescriptorUI>
  <DescriptorName><String>Growths &amp; Cysts</String></DescriptorName>
  <TreeNumberList><TreeNumber>C91</TreeNumber></TreeNumberList>
</DescriptorRecord>
<DescriptorRecord DescriptorClass="1">
  <DescriptorUI>D900002</DescriptorUI>
  <DescriptorName><String>Gland Cysts</String></DescriptorName>
  <TreeNumberList><TreeNumber>C91.100.5</TreeNumber><TreeNumber>A02.7</TreeNumber></TreeNumberList>
  <ConceptList><Concept><ConceptName><String>Not a heading</String></ConceptName></Concept></ConceptList>
</DescriptorRecord>
</DescriptorRecordSet>`;

Deno.test("readMeshTree() reads descriptors and gzip; findMeshTree() takes the newest file", async () => {
  const folder = Deno.makeTempDirSync();
  try {
    assertThrows(() => findMeshTree(folder), UserError, "meshtrees/mtrees");
    const write = (name: string, bytes: Uint8Array | string) =>
      Deno.writeFileSync(
        join(folder, name),
        typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes,
      );
    write("mtrees2025.bin", "Gland Growths;C91\n");
    assertEquals(findMeshTree(folder), join(folder, "mtrees2025.bin"));
    write("desc2026.xml.gz", gzipSync(DESCRIPTORS));
    const newest = findMeshTree(folder);
    assertEquals(newest, join(folder, "desc2026.xml.gz"));
    const branches = await readMeshTree(newest);
    const both = ["C91 Growths & Cysts", "A02"];
    assertEquals(branches("Gland Cysts"), both);
    assertEquals(branches("Cysts of Glands, as once named", "D900002"), both);
    assertEquals(branches("Not a heading"), []);
    write("mtrees2026.bin.gz", gzipSync("Gland Growths;C91\nGland Cysts;C91.100.5\n"));
    const small = await readMeshTree(findMeshTree(folder));
    assertEquals(findMeshTree(folder), join(folder, "mtrees2026.bin.gz"));
    assertEquals(small("Gland Cysts", "D900002"), ["C91 Gland Growths"]);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
