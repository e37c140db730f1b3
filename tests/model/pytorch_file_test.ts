import { zipSync } from "fflate";
import { UserError } from "../../core/errors.ts";
import { join } from "../../core/std.ts";
import { openModelFolder } from "../../model/folder.ts";
import { initialParameters } from "../../model/initialize.ts";
import { EMBEDDING, parameterList } from "../../model/parameters.ts";
import { openPytorchFile } from "../../model/pytorch_file.ts";
import { assertEquals, assertThrows } from "../assert.ts";
import { MINIATURE, withFolder, writeJson } from "./helpers.ts";

/** Opcodes in the order in which `torch.save` writes them. */
class Pickler {
  readonly bytes: number[] = [0x80, 2];

  op(...codes: (string | number)[]): this {
    for (const code of codes) this.bytes.push(typeof code === "string" ? code.charCodeAt(0) : code);
    return this;
  }
  text(value: string): this {
    const bytes = new TextEncoder().encode(value), length = new Uint32Array([bytes.length]);
    return this.op("X", ...new Uint8Array(length.buffer), ...bytes);
  }
  int(value: number): this {
    return this.op("J", ...new Uint8Array(Int32Array.of(value).buffer));
  }
  global(module: string, name: string): this {
    return this.op("c", ...new TextEncoder().encode(`${module}\n${name}\n`));
  }
  orderedDict(): this {
    return this.global("collections", "OrderedDict").op(")", "R");
  }
  tensor(storage: string, key: string, offset: number, shape: number[], strides: number[]): this {
    const elements = shape.reduce((a, b) => a * b, 1);
    this.global("torch._utils", "_rebuild_tensor_v2").op("(", "(").text("storage");
    this.global("torch", storage).text(key).text("cpu").int(elements).op("t", "Q").int(offset);
    for (const list of [shape, strides]) {
      this.op("(");
      for (const n of list) this.int(n);
      this.op("t");
    }
    return this.op(0x89).orderedDict().op("t", "R");
  }
}

const stridesOf = (shape: readonly number[]) =>
  shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));

function saveZip(path: string, pickle: number[], storages: Record<string, Uint8Array>): void {
  const files: Record<string, Uint8Array> = { "archive/data.pkl": Uint8Array.from(pickle) };
  for (const [key, bytes] of Object.entries(storages)) files[`archive/data/${key}`] = bytes;
  Deno.writeFileSync(path, zipSync(files, { level: 0 }));
}

const bytesOf = (values: Float32Array) => new Uint8Array(values.buffer);

Deno.test("openModelFolder() reads pytorch_model.bin in state-spaces' layout, bit for bit", () =>
  withFolder((dir) => {
    writeJson(dir, "config.json", {
      d_model: 10,
      n_layer: 2,
      vocab_size: 21,
      ssm_cfg: { d_state: 3, dt_rank: 2 },
    });
    const read = initialParameters(MINIATURE, 4), storages: Record<string, Uint8Array> = {};
    const pickler = new Pickler().orderedDict().op("q", 0, "(");
    parameterList(MINIATURE).forEach(({ name, shape }, i) => {
      pickler.text(name === EMBEDDING ? "backbone.embedding.weight" : name);
      pickler.tensor("FloatStorage", String(i), 0, [...shape], stridesOf(shape));
      storages[i] = bytesOf(read(name));
    });
    const table = parameterList(MINIATURE)[0]!;
    pickler.text("lm_head.weight");
    pickler.tensor("FloatStorage", "0", 0, [...table.shape], stridesOf(table.shape)).op("u");
    // A module's state dictionary has an attribute, which says nothing about the weights.
    pickler.op("}").text("_metadata").orderedDict().op("s", "b", ".");
    saveZip(join(dir, "pytorch_model.bin"), pickler.bytes, storages);
    const folder = openModelFolder(dir);
    assertEquals(folder.config, MINIATURE);
    for (const { name } of parameterList(MINIATURE)) assertEquals(folder.read(name), read(name));
    folder.close();
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
    bytes[bytes.indexOf(0x80) + 4]! ^= 1;
    Deno.writeFileSync(path, bytes);
    assertThrows(() => openPytorchFile(path), UserError, "is damaged");
    Deno.writeTextFileSync(path, "not a zip");
    assertThrows(() => openPytorchFile(path), UserError, "not a zip archive");
  }));
