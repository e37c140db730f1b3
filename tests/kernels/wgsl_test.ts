/** The WGSL writer and the uniform values. @module */
import { boundInOrder } from "../../kernels/plan.ts";
import { uniforms, WgslWriter } from "../../kernels/wgsl/mod.ts";
import { assertEquals, assertThrows } from "../assert.ts";
import { deviceTest } from "./board.ts";

const PARAMS = uniforms({ count: "u32", shift: "i32", factor: "f32", offset: "f32", more: "u32" });

Deno.test("uniform values become a struct, and bytes by name", () => {
  assertEquals(PARAMS.bytes, 32);
  assertEquals(
    PARAMS.struct("P"),
    "struct P {\n  count: u32,\n  shift: i32,\n  factor: f32,\n  offset: f32,\n  more: u32,\n}",
  );
  const packed = PARAMS.pack({ more: 4294967295, offset: -0.5, factor: 1e-5, shift: -3, count: 7 });
  const view = new DataView(packed);
  assertEquals(packed.byteLength, 32);
  assertEquals(view.getUint32(0, true), 7);
  assertEquals(view.getInt32(4, true), -3);
  assertEquals(view.getFloat32(8, true), Math.fround(1e-5));
  assertEquals(view.getFloat32(12, true), -0.5);
  assertEquals(view.getUint32(16, true), 4294967295);
  assertEquals([20, 24, 28].map((at) => view.getUint32(at, true)), [0, 0, 0]);
});

Deno.test("a value that its type cannot hold is refused with its name", () => {
  const one = uniforms({ rows: "u32" });
  for (const rows of [-1, 1.5, NaN, 2 ** 32]) {
    const error = assertThrows(() => one.pack({ rows }), RangeError);
    assertEquals(error.message, `The uniform value rows is a u32 and cannot be ${rows}`);
  }
});

Deno.test("a program is indented, with its constants, bindings and entry point", () => {
  const w = new WgslWriter();
  w.const("GROUP", 64);
  w.const("LIMIT", 3, "f32");
  w.uniforms("p", uniforms({ count: "u32" }));
  w.storage("values", "vec4h", "read_write");
  w.fn("twice(x: f32) -> f32", "return 2.0 * x;");
  w.main("GROUP", { id: "global_invocation_id", count: "num_workgroups" }, () => {
    w.comment("What lies beyond\nis left alone.");
    w.if("id.x >= p.count", () => w.line("return;"));
    w.for("var k = 0u; k < 2u; k++", () => {
      w.line(`
        let a = k;

        let b = a +
          1u;
      `);
    });
    w.unroll(2, (i) => w.line(`let x${i} = ${i}u;`));
    w.unrollBackward(2, (i) => w.line(`let y${i} = ${i}u;`));
    w.if("x0 > x1", () => w.line("values[0] = vec4h();"), () => w.line("values[1] = vec4h();"));
  });
  assertEquals(
    w.toString(),
    `enable f16;
const GROUP: u32 = 64u;
const LIMIT: f32 = 3.0;

struct P {
  count: u32,
}
@group(0) @binding(0) var<uniform> p: P;
@group(0) @binding(1) var<storage, read_write> values: array<vec4h>;

fn twice(x: f32) -> f32 {
  return 2.0 * x;
}

@compute @workgroup_size(GROUP)
fn main(
  @builtin(global_invocation_id) id: vec3u,
  @builtin(num_workgroups) count: vec3u,
) {
  // What lies beyond
  // is left alone.
  if (id.x >= p.count) {
    return;
  }
  for (var k = 0u; k < 2u; k++) {
    let a = k;

    let b = a +
      1u;
  }
  let x0 = 0u;
  let x1 = 1u;
  let y1 = 1u;
  let y0 = 0u;
  if (x0 > x1) {
    values[0] = vec4h();
  } else {
    values[1] = vec4h();
  }
}
`,
  );
  assertEquals(w.program().bindings, [
    { name: "p", kind: "uniform", type: "P" },
    { name: "values", kind: "storage, read_write", type: "array<vec4h>" },
  ]);
});

Deno.test("features and silenced rules come first, and a comment stays with what it is about", () => {
  const w = new WgslWriter();
  w.const("LANES", 32);
  w.comment("Twice a number.");
  w.fn("twice(x: f32) -> f32", "return 2.0 * x;");
  w.main("LANES", { sg: "subgroup_id" }, () => {}, "@subgroup_size(LANES)");
  w.enable("subgroups").diagnosticOff("chromium.subgroup_matrix_uniformity");
  assertEquals(
    w.toString(),
    `enable subgroups;
diagnostic(off, chromium.subgroup_matrix_uniformity);
const LANES: u32 = 32u;
// Twice a number.
fn twice(x: f32) -> f32 {
  return 2.0 * x;
}

@compute @workgroup_size(LANES) @subgroup_size(LANES)
fn main(@builtin(subgroup_id) sg: u32) {
}
`,
  );
});

Deno.test("bindings are found by name, and a missing one is named", () => {
  const w = new WgslWriter().uniforms("p", PARAMS).storage("a", "f32").storage("b", "f32");
  const region = (offset: number) => ({ buffer: {} as GPUBuffer, offset, size: 16 });
  const params = new ArrayBuffer(32);
  const call = { label: "add", code: w.program(), params, groups: [1] as const };
  const both = boundInOrder({
    ...call,
    bindings: { b: region(2), spare: region(3), a: region(1) },
  });
  assertEquals(both.map((bound) => (bound as { offset: number }).offset), [1, 2]);
  const error = assertThrows(
    () => boundInOrder({ ...call, bindings: { a: region(1) } }),
    RangeError,
  );
  assertEquals(error.message, "Kernel add needs something bound as b");
});

deviceTest("a written program runs", async (board) => {
  const scaling = uniforms({ count: "u32", factor: "f32" });
  const w = new WgslWriter();
  w.const("GROUP", 8);
  w.uniforms("p", scaling);
  w.storage("values", "f32", "read_write");
  w.main("GROUP", { id: "global_invocation_id" }, () => {
    w.if("id.x < p.count", () => w.line("values[id.x] *= p.factor;"));
  });
  const values = board.flat([1, 2, 3, 4]);
  await board.run((plan) =>
    plan.dispatch({
      label: "scale",
      code: w.program(),
      params: scaling.pack({ count: 3, factor: 2.5 }),
      bindings: { values },
      groups: [1],
    })
  );
  assertEquals([...await board.floats(values, 4)], [2.5, 5, 7.5, 4]);
});
