/**
 * What the doctor finds of the device here, as JSON, with two seconds for it: run with facts of the
 * machine as its one word, in a process of its own, because a driver that was cut off goes on.
 * @module
 */
import { diagnose, type Facts } from "../../commands/doctor.ts";
import { inspectWithin } from "../../commands/doctor_adapter.ts";

const facts: Facts = JSON.parse(Deno.args[0] ?? "");
const script = new URL("../../commands/doctor_worker.ts", import.meta.url);
try {
  facts.adapter = await inspectWithin(new Worker(script, { type: "module" }), {}, 1500, 2);
} catch (error) {
  facts.deviceError = (error as Error).message;
}
const found = JSON.stringify({ facts, findings: diagnose(facts) });
Deno.stdout.writeSync(new TextEncoder().encode(found));
Deno.exit(0);
