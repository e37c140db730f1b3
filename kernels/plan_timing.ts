/** How long a plan takes on its device. @module */
import type { Plan } from "./plan.ts";

/** The least milliseconds of one replay, without the cost of a submit. */
export async function timePlan(plan: Plan, budgetMs: number): Promise<number> {
  const { device } = plan;
  const once = async (count: number) => {
    const start = performance.now();
    const encoder = device.gpu.createCommandEncoder();
    for (let i = 0; i < count; i++) plan.record(encoder);
    device.gpu.queue.submit([encoder.finish()]);
    await device.idle();
    return performance.now() - start;
  };
  await once(1);
  let floor = Infinity;
  for (let i = 0; i < 3; i++) floor = Math.min(floor, await once(0));
  const guess = Math.max(0.02, await once(1) - floor);
  const count = Math.max(1, Math.min(400, Math.round(budgetMs / guess)));
  let best = Infinity;
  for (let i = 0; i < 3; i++) best = Math.min(best, (await once(count) - floor) / count);
  return Math.max(best, 1e-4);
}
