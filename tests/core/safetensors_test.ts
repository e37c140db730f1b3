import { UserError } from "../../core/errors.ts";
import { openSafetensors, writeSafetensors } from "../../core/safetensors.ts";
import { join } from "../../core/std.ts";
import { assert, assertEquals, assertThrows } from "../assert.ts";

function inFolder(fn: (folder: string) => void): void {
  const folder = Deno.makeTempDirSync();
  try {
    fn(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** A file of a given header and data, however wrong. */
function rawFile(path: string, header: unknown, data: Uint8Array, length?: number): void {
  const text = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length ?? text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  Deno.writeFileSync(path, bytes);
}

Deno.test("safetensors: a round trip keeps every bit, NaN payloads and signed zeros included", () => {
  inFolder((folder) => {
    const path = join(folder, "a", "model.safetensors");
    const words = new Uint32Array([0x7fc12345, 0xffa00001, 0x80000000, 1, 0x3f800000, 0x7f800000]);
    const floats = new Float32Array(words.buffer);
    const halves = new Uint16Array([0x3c00, 0x8000, 0x7c01]);
    writeSafetensors(path, [
      { name: "z", dtype: "F32", shape: [2, 3], data: floats },
      { name: "a", dtype: "F16", shape: [3], data: halves },
      { name: "empty", dtype: "F32", shape: [0, 4], data: new Float32Array(0) },
      { name: "scalar", dtype: "I64", shape: [], data: () => new BigInt64Array([-5n]) },
      { name: "bytes", dtype: "U8", shape: [3], data: new Uint8Array([1, 2, 255]) },
    ], { metadata: { format: "pt" } });
    using file = openSafetensors(path);
    assertEquals(file.metadata, { format: "pt" });
    assertEquals([...file.tensors.keys()], ["z", "a", "empty", "scalar", "bytes"]);
    assertEquals(file.info("z").shape, [2, 3]);
    assertEquals(new Uint32Array(file.bytes("z").buffer), words);
    assertEquals(new Uint32Array(file.floats("z").buffer), words);
    assertEquals(new Uint16Array(file.bytes("a").buffer), halves);
    assertEquals(file.floats("empty").length, 0);
    assertEquals([...file.bigIntegers("scalar")], [-5n]);
    assertEquals([...file.integers("scalar")], [-5]);
    assertEquals([...file.integers("bytes")], [1, 2, 255]);
    const again = join(folder, "b.safetensors");
    writeSafetensors(
      again,
      [...file.tensors.values()].map((t) => ({
        name: t.name,
        dtype: t.dtype,
        shape: t.shape,
        data: () =>
          t.dtype === "F32"
            ? file.floats(t.name)
            : t.dtype === "F16"
            ? new Uint16Array(file.bytes(t.name).buffer)
            : t.dtype === "I64"
            ? file.bigIntegers(t.name)
            : file.bytes(t.name),
      })),
      { metadata: { format: "pt" } },
    );
    assertEquals(Deno.readFileSync(again), Deno.readFileSync(path));
    assertEquals(Number(new DataView(Deno.readFileSync(path).buffer).getBigUint64(0, true)) % 8, 0);
  });
});

Deno.test("safetensors: decodes F64, F16, BF16 and the integer types", () => {
  inFolder((folder) => {
    const path = join(folder, "t.safetensors");
    writeSafetensors(path, [
      { name: "f64", dtype: "F64", shape: [2], data: new Float64Array([0.1, -2]) },
      { name: "f16", dtype: "F16", shape: [4], data: new Float16Array([1.5, -0.25, 65504, 6e-8]) },
      { name: "bf16", dtype: "BF16", shape: [2], data: new Uint16Array([0x3f80, 0xc040]) },
      { name: "i32", dtype: "I32", shape: [2], data: new Int32Array([-1, 7]) },
      { name: "i16", dtype: "I16", shape: [1], data: new Int16Array([-300]) },
      { name: "i64", dtype: "I64", shape: [1], data: new BigInt64Array([1n << 40n]) },
      { name: "bool", dtype: "BOOL", shape: [2], data: new Uint8Array([0, 1]) },
    ], { sorted: true });
    using file = openSafetensors(path);
    assertEquals([...file.tensors.keys()][0], "bf16");
    assertEquals([...file.doubles("f64")], [0.1, -2]);
    assertEquals([...file.floats("f64")], [Math.fround(0.1), -2]);
    assertEquals([...file.floats("f16")], [1.5, -0.25, 65504, 2 ** -24]);
    assertEquals([...file.floats("bf16")], [1, -3]);
    assertEquals([...file.integers("i32")], [-1, 7]);
    assertEquals([...file.bigIntegers("i16")], [-300n]);
    assertEquals([...file.integers("bool")], [0, 1]);
    assertThrows(() => file.integers("i64"), UserError, "beyond 32 bits");
    assertThrows(() => file.integers("f16"), UserError, '"f16"');
    assertThrows(() => file.floats("i32"), UserError, "I32");
    assertThrows(() => file.floats("none"), UserError, 'no tensor "none"');
  });
});

Deno.test("safetensors: a malformed file is named with what is wrong", () => {
  inFolder((folder) => {
    const path = join(folder, "bad.safetensors");
    const refuses = (what: string) => {
      const error = assertThrows(() => openSafetensors(path).close(), UserError, what);
      assert(error.message.includes(path), error.message);
    };
    refuses("no such file");
    const f32 = (begin: number, end: number, shape = [1]) => ({
      dtype: "F32",
      shape,
      data_offsets: [begin, end],
    });
    const four = new Uint8Array(4);
    const eight = new Uint8Array(8);
    Deno.writeFileSync(path, new Uint8Array(3));
    refuses("3 bytes");
    rawFile(path, {}, new Uint8Array(0), 1000);
    refuses("a header of 1000 bytes");
    rawFile(path, "{not json", four);
    refuses("not JSON");
    rawFile(path, [], four);
    refuses("not a JSON object");
    rawFile(path, { x: { ...f32(0, 4), dtype: "F8" } }, four);
    refuses('tensor "x": unknown type "F8"');
    rawFile(path, { x: { ...f32(0, 4), shape: [-1] } }, four);
    refuses('tensor "x": bad shape');
    rawFile(path, { x: f32(0, 4, [2]) }, four);
    refuses("4 bytes where F32 [2] takes 8");
    rawFile(path, { x: f32(0, 4), y: f32(0, 4) }, eight);
    refuses('tensor "y" starts at byte');
    rawFile(path, { x: f32(0, 4), y: f32(8, 12) }, new Uint8Array(12));
    refuses('tensor "y" starts at byte');
    rawFile(path, { x: f32(0, 4) }, eight);
    refuses("the tensors end at byte");
    rawFile(path, { x: f32(0, 8, [2]) }, four);
    refuses("the tensors end at byte");
    rawFile(path, { __metadata__: { a: 1 }, x: f32(0, 4) }, four);
    refuses("__metadata__");
  });
});

Deno.test("safetensors: nothing is left of a failed write", () => {
  inFolder((folder) => {
    const path = join(folder, "model.safetensors");
    const x = { name: "x", dtype: "F32", shape: [3], data: new Float32Array(2) } as const;
    assertThrows(() => writeSafetensors(path, [x]), UserError, 'tensor "x"');
    const y = { ...x, data: new Float32Array(3) };
    assertThrows(() => writeSafetensors(path, [y, y]), UserError, "the name is taken");
    assertEquals([...Deno.readDirSync(folder)].length, 0);
  });
});
