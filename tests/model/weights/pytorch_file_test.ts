import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { openModelFolder } from "../../../model/weights/folder.ts";
import { EMBEDDING, parameterList } from "../../../model/mamba/parameters.ts";
import { openPytorchFile } from "../../../model/weights/pytorch_file.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { MINIATURE, withFolder, writeJson } from "../helpers.ts";
import { Pickler, saveZip, shardName, writePytorchModel } from "./pytorch_files.ts";

Deno.test("openModelFolder() reads pytorch_model.bin in state-spaces' layout, bit for bit", () =>
  withFolder((dir) => {
    const read = writePytorchModel(dir);
    const folder = openModelFolder(dir);
    assertEquals(folder.config, MINIATURE);
    for (const { name } of parameterList(MINIATURE)) assertEquals(folder.read(name), read(name));
    folder.close();
  }));

Deno.test("openModelFolder() reads pytorch_model.bin in shards, and names what is missing", () =>
  withFolder((dir) => {
    const read = writePytorchModel(dir, 3);
    const folder = openModelFolder(dir);
    for (const { name } of parameterList(MINIATURE)) assertEquals(folder.read(name), read(name));
    assertEquals(folder.config, MINIATURE);
    folder.close();
    const last = join(dir, shardName(2, 3));
    const index = join(dir, "pytorch_model.bin.index.json");
    const fails = (message: string) => assertThrows(() => openModelFolder(dir), UserError, message);
    const map = JSON.parse(Deno.readTextFileSync(index)).weight_map as Record<string, string>;
    const norm = "backbone.norm_f.weight";
    writeJson(dir, "pytorch_model.bin.index.json", {
      weight_map: { ...map, [norm]: shardName(0, 3) },
    });
    fails(`${shardName(0, 3)}: tensor "${norm}" is missing, which ${index} places there`);
    const { [norm]: _norm, ...rest } = map;
    writeJson(dir, "pytorch_model.bin.index.json", { weight_map: rest });
    fails(`${index}: tensor "${norm}" [10] is missing`);
    writeJson(dir, "pytorch_model.bin.index.json", { weight_map: { ...map, [norm]: "../a.bin" } });
    fails(`the file of ${norm} is "../a.bin"`);
    writeJson(dir, "pytorch_model.bin.index.json", { weight_map: map });
    const evil = new Pickler().global("posix", "system").text("touch evil").op(0x85, "R", ".");
    saveZip(last, evil.bytes, {});
    fails(`names "posix system", which is not run`);
    Deno.removeSync(last);
    fails(`${shardName(2, 3)} is missing, where ${index} places the tensor`);
    assertEquals(map["backbone.embedding.weight"], shardName(0, 3), EMBEDDING);
  }));

Deno.test("openPytorchFile() reads half types, offsets and shared storages", () =>
  withFolder((dir) => {
    const path = join(dir, "pytorch_model.bin");
    const pickler = new Pickler().op("}", "(");
    pickler.text("a").tensor("HalfStorage", "0", 2, [2, 1], [1, 1]);
    pickler.text("b").tensor("BFloat16Storage", "1", 0, [2], [1]).op("u", ".");
    saveZip(path, pickler.bytes, {
      0: new Uint8Array(Float16Array.of(9, 9, 1.5, -2).buffer),
      1: new Uint8Array(Uint16Array.of(0x3f80, 0xc000).buffer),
    });
    const file = openPytorchFile(path);
    assertEquals([...file.floats("a")], [1.5, -2]);
    assertEquals([...file.floats("b")], [1, -2]);
    assertEquals(file.find("a"), { file: path, dtype: "F16", shape: [2, 1] });
    file.close();
  }));

Deno.test("openPytorchFile() runs nothing, and refuses what is not plain tensors", () =>
  withFolder((dir) => {
    const path = join(dir, "pytorch_model.bin");
    const fails = (pickle: Pickler, message: string, storage = new Uint8Array(8)) => {
      saveZip(path, pickle.bytes, { 0: storage });
      assertThrows(() => openPytorchFile(path), UserError, message);
    };
    const evil = new Pickler().global("posix", "system").text("touch /tmp/evil").op(0x85, "R", ".");
    fails(evil, 'names "posix system", which is not run');
    fails(new Pickler().op("i"), "has the opcode 0x69");
    fails(new Pickler().op("}"), "ends early");
    fails(new Pickler().op("R"), "is damaged");
    fails(new Pickler().text("x").op("."), "not a dictionary of tensors");
    const odd = new Pickler().op("}").text("epoch").int(3).op("s", ".");
    fails(odd, "its entry epoch is not a tensor");
    const long = new Pickler().op("}").text("x").tensor("LongStorage", "0", 0, [1], [1]).op(
      "s",
      ".",
    );
    fails(long, 'names "torch LongStorage"');
    const turned = new Pickler().op("}").text("x").tensor("FloatStorage", "0", 0, [2, 1], [1, 2]);
    saveZip(path, turned.op("s", ".").bytes, { 0: new Uint8Array(4) });
    let file = openPytorchFile(path);
    assertThrows(() => file.floats("x"), UserError, "needs 8 bytes of its storage, which has 4");
    file.close();
    const columns = new Pickler().op("}").text("x").tensor("FloatStorage", "0", 0, [2, 2], [1, 2]);
    saveZip(path, columns.op("s", ".").bytes, { 0: new Uint8Array(16) });
    file = openPytorchFile(path);
    assertThrows(() => file.floats("x"), UserError, "has the strides [1,2]");
    file.close();
    const bytes = Deno.readFileSync(path);
    // The pickle's own beginning: 0x80 alone may also be in the time that a zip states.
    const start = bytes.findIndex((b, i) =>
      b === 0x80 && bytes[i + 1] === 2 && bytes[i + 2] === 0x7d
    );
    assert(start > 0, "a pickle begins with its protocol and a dictionary");
    bytes[start + 4]! ^= 1;
    Deno.writeFileSync(path, bytes);
    assertThrows(() => openPytorchFile(path), UserError, "is damaged");
    Deno.writeTextFileSync(path, "not a zip");
    assertThrows(() => openPytorchFile(path), UserError, "not a zip archive");
  }));
