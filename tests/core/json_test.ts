import { jsonLine } from "../../core/json.ts";
import { join } from "../../core/std.ts";
import { assertEquals } from "../assert.ts";
import { ROOT } from "../shared.ts";

Deno.test("jsonLine() writes keys in snake_case and leaves names that are no keys of ours", () => {
  const given = {
    tokensPerSecond: 12.5,
    loss: NaN,
    already_snake: { dataSeconds: 1, "layers.0.A_log": [{ maxSize: 1 }], NumPy: 1 },
    ids: new Uint16Array([1, 2]),
  };
  assertEquals(
    jsonLine(given),
    '{"tokens_per_second":12.5,"loss":null,"already_snake":{"data_seconds":1,' +
      '"layers.0.A_log":[{"max_size":1}],"NumPy":1},"ids":[1,2]}',
  );
});

Deno.test("what commands print as JSON goes through jsonLine()", () => {
  // Results of tasks have names of labels and of types among their keys, which stay as they are.
  const exceptions = ["evaluate.ts", "finetune.ts"];
  const folder = join(ROOT, "commands");
  const printing = [...Deno.readDirSync(folder)].map(({ name }) => name)
    .filter((name) => name.endsWith(".ts") && !exceptions.includes(name))
    .filter((name) =>
      /(\.line\(|\.json \?)\s*JSON\.stringify\(/.test(Deno.readTextFileSync(join(folder, name)))
    );
  assertEquals(printing, []);
});
