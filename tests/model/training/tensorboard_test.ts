import { UserError } from "../../../core/errors.ts";
import {
  crc32c,
  encodeFileVersion,
  encodeScalars,
  readEvents,
} from "../../../model/training/tensorboard.ts";
import { assertEquals, assertThrows } from "../../assert.ts";

Deno.test("crc32c() equals the published check values", () => {
  assertEquals(crc32c(new TextEncoder().encode("123456789")), 0xe3069283);
  assertEquals(crc32c(new Uint8Array(32)), 0x8a9136aa); // RFC 3720, appendix B.4
});

Deno.test("encodeFileVersion() writes the bytes that TensorFlow writes", () => {
  // Event { wall_time: 1.0, file_version: "brain.Event:2" }: length 24, then the message.
  const bytes = encodeFileVersion(1);
  assertEquals(bytes.length, 8 + 4 + 24 + 4);
  assertEquals([...bytes.subarray(0, 8)], [24, 0, 0, 0, 0, 0, 0, 0]);
  assertEquals([...bytes.subarray(12, 21)], [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
  assertEquals(new TextDecoder().decode(bytes.subarray(23, 36)), "brain.Event:2");
});

Deno.test("readEvents() gives back what was written, and stops at a record cut short", () => {
  const events = [1, 2, 300].map((step) => ({
    wallTime: 1.5e9 + step,
    step,
    scalars: { loss: step / 4, grad_norm: Math.fround(1 / step) },
  }));
  const parts = [encodeFileVersion(1), ...events.map(encodeScalars)];
  const bytes = Uint8Array.from(parts.flatMap((p) => [...p]));
  const read = readEvents(bytes, "events");
  assertEquals(read.slice(1).map(({ end: _, ...event }) => event), events);
  assertEquals(read.at(-1)!.end, bytes.length);
  assertEquals(readEvents(bytes.subarray(0, -1), "events").length, 3);
  bytes[parts[0]!.length + 20]! ^= 1;
  assertThrows(() => readEvents(bytes, "events"), UserError, `byte ${parts[0]!.length}`);
});
