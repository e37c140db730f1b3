import { jsonLine } from "../../core/json.ts";
import { assertEquals } from "../assert.ts";

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
