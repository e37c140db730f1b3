/** Model files that were made to harm: each is refused in a sentence. @module */
import { UserError } from "../../../core/errors.ts";
import { join } from "../../../core/std.ts";
import { huggingFaceConfig } from "../../../model/mamba/config_file.ts";
import { openModelFolder, writeModelFolder } from "../../../model/weights/folder.ts";
import { initialParameters } from "../../../model/mamba/initialize.ts";
import { openPytorchFile } from "../../../model/weights/pytorch_file.ts";
import { openZip } from "../../../model/weights/zip.ts";
import { assert, assertEquals, assertThrows } from "../../assert.ts";
import { MINIATURE, MINIATURE_TOKENIZER, withFolder, writeJson } from "../helpers.ts";
import { Pickler, saveZip } from "./pytorch_files.ts";

/** A folder with the miniature model. */
function miniature(dir: string): string {
  const path = join(dir, "model");
  const read = initialParameters(MINIATURE, 1);
  writeModelFolder(path, { config: MINIATURE, read, tokenizer: MINIATURE_TOKENIZER });
  return path;
}

Deno.test("a configuration of a billion layers is compared with the tensors first", () =>
  withFolder((dir) => {
    const path = miniature(dir);
    const config = huggingFaceConfig(MINIATURE);
    for (const layers of [1e9, 2 ** 31 - 1, 1000]) {
      writeJson(path, "config.json", { ...config, num_hidden_layers: layers });
      const { message } = assertThrows(() => openModelFolder(path), UserError);
      assert(message.includes(`says that the model has ${layers} layers, but there are`), message);
    }
  }));

Deno.test("JSON that nests without end, or is far too long, is refused in a sentence", () =>
  withFolder((dir) => {
    const path = miniature(dir);
    const deep = "[".repeat(200_000) + "]".repeat(200_000);
    Deno.writeTextFileSync(join(path, "config.json"), `{"model_type":${deep}}`);
    assertThrows(
      () => openModelFolder(path),
      UserError,
      "its model_type is [[[[",
    );
    Deno.writeTextFileSync(
      join(path, "config.json"),
      `{"model_type":"mamba","hidden_size":${deep}}`,
    );
    assertThrows(
      () => openModelFolder(path),
      UserError,
      "hidden_size is [[[[",
    );
    Deno.writeTextFileSync(join(path, "config.json"), " ".repeat(5_000_000));
    assertThrows(
      () => openModelFolder(path),
      UserError,
      "it has 5000000 bytes, and at most 4194304",
    );
  }));

Deno.test("an index names files beside it, and nothing else", () =>
  withFolder((dir) => {
    const path = miniature(dir);
    Deno.removeSync(join(path, "model.safetensors"));
    for (
      const name of ["..", ".", "", "../model.safetensors", "a\\b.bin", "x\0.bin", 3, ["a"], null]
    ) {
      writeJson(path, "model.safetensors.index.json", { weight_map: { tensor: name } });
      assertThrows(() => openModelFolder(path), UserError, "Cannot read the index");
    }
    writeJson(path, "model.safetensors.index.json", { weight_map: { tensor: "a.safetensors" } });
    Deno.mkdirSync(join(path, "a.safetensors"));
    assertThrows(() => openModelFolder(path), UserError, "it is no file");
  }));

/** A pickle of a dictionary with one entry, whose key and value `entry` writes. */
const dictionary = (entry: (pickle: Pickler) => Pickler) =>
  entry(new Pickler().op("}")).op("s", ".").bytes;

Deno.test("pickles with keys that nest, and tensors out of bounds, are refused in a sentence", () =>
  withFolder((dir) => {
    const path = join(dir, "pytorch_model.bin");
    const fails = (pickle: number[], message: string) => {
      saveZip(path, pickle, { 0: new Uint8Array(8) });
      assertThrows(() => openPytorchFile(path), UserError, message);
    };
    const nested = Array.from({ length: 100_000 }, () => 0x85); // tuples of one
    fails(dictionary((p) => p.op(")", ...nested).int(1)), "one of its entries has no name");
    fails(
      dictionary((p) => p.text("x".repeat(5000)).int(1)),
      `its entry ${"x".repeat(200)} is not`,
    );
    for (
      const [offset, shape, strides] of [[-4, [1], [1]], [0, [-1], [1]], [0, [1], [-1]]] as const
    ) {
      const tensor = dictionary((p) =>
        p.text("x").tensor("FloatStorage", "0", offset, [...shape], [...strides])
      );
      fails(tensor, "a tensor");
    }
    const far = dictionary((p) => p.text("x").tensor("FloatStorage", "0", 2 ** 30, [1], [1]));
    saveZip(path, far, { 0: new Uint8Array(8) });
    const file = openPytorchFile(path);
    assertThrows(() => file.floats("x"), UserError, "bytes of its storage, which has 8");
    file.close();
  }));

/** Finds a signature in an archive. */
function placeOf(bytes: Uint8Array, signature: number): number {
  const view = new DataView(bytes.buffer);
  for (let at = bytes.length - 4; at >= 0; at--) {
    if (view.getUint32(at, true) === signature) return at;
  }
  throw new Error("there is no such signature");
}

const DIRECTORY_END = 0x06054b50;
const ENTRY = 0x02014b50;

Deno.test("archives that point outside themselves are refused in a sentence", () =>
  withFolder((dir) => {
    const path = join(dir, "pytorch_model.bin");
    saveZip(path, dictionary((p) => p.text("x").int(1)), { 0: new Uint8Array(8) });
    const good = Deno.readFileSync(path);
    const end = placeOf(good, DIRECTORY_END);
    /** Opens the archive after a change, and reads every member of it. */
    const read = (change: (view: DataView<ArrayBuffer>) => Uint8Array<ArrayBuffer> | void) => {
      const copy = good.slice();
      const changed = change(new DataView(copy.buffer)) ?? copy;
      Deno.writeFileSync(path, changed);
      const zip = openZip(path);
      try {
        for (const name of zip.names) zip.read(name);
      } finally {
        zip.close();
      }
    };
    read(() => {});
    const fails = (change: Parameters<typeof read>[0], message: string) => {
      assertThrows(() => read(change), UserError, message);
    };
    fails((view) => view.setUint32(end + 16, 0xfffffff0, true), "it points to byte");
    fails((view) => view.setUint32(end + 12, 0x7fffffff, true), "it points to byte");
    const entry = placeOf(good, ENTRY);
    fails((view) => view.setUint32(entry + 42, 0x7ffffff0, true), "it points to byte");
    fails((view) => view.setUint32(entry + 24, 0x7ffffff0, true), "it points to byte");
    // A size of 0xffffffff stands in an extra field, of which there is none.
    fails((view) => view.setUint16(entry + 30, 60_000, true), "ends early");
    const locator = (offset: bigint) => (view: DataView<ArrayBuffer>) => {
      const whole = new Uint8Array(good.length + 20);
      const at = new DataView(whole.buffer);
      whole.set(new Uint8Array(view.buffer, 0, end));
      whole.set(new Uint8Array(view.buffer, end), end + 20);
      at.setUint32(end, 0x07064b50, true);
      at.setBigUint64(end + 8, offset, true);
      return whole;
    };
    for (const offset of [1n << 63n, (1n << 53n) + 1n, BigInt(good.length), 1n << 40n]) {
      fails(locator(offset), "it points to byte");
    }
    const withField = (id: number, size: number) => (view: DataView<ArrayBuffer>) => {
      const name = view.getUint16(entry + 28, true);
      const after = entry + 46 + name;
      const whole = new Uint8Array(good.length + 4 + size);
      const at = new DataView(whole.buffer);
      whole.set(good.subarray(0, after));
      whole.set(good.subarray(after), after + 4 + size);
      at.setUint32(entry + 42, 0xffffffff, true);
      at.setUint16(entry + 30, 4 + size, true);
      at.setUint16(after, id, true);
      at.setUint16(after + 2, size, true);
      at.setUint32(end + 4 + size + 12, at.getUint32(end + 4 + size + 12, true) + 4 + size, true);
      for (let i = 0; i < size; i++) whole[after + 4 + i] = 0xff;
      return whole;
    };
    fails(withField(1, 4), "are missing");
    fails(withField(1, 8), "it points to byte");
    assertEquals(Deno.readFileSync(path).length, good.length + 12);
  }));
