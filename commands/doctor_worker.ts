/**
 * Looks at the adapter for `doctor`, in a thread of its own: a driver may take minutes over one kernel
 * and cannot be asked to stop.
 * @module
 */
import { messageOf } from "../core/errors.ts";
import {
  type AdapterFacts,
  type AdapterNews,
  type Asked,
  inspectAdapter,
} from "./doctor_adapter.ts";

const tell = (news: AdapterNews): void =>
  (self as unknown as { postMessage(news: AdapterNews): void }).postMessage(news);

addEventListener("message", async ({ data }: MessageEvent<{ asked: Asked; budget: number }>) => {
  try {
    const opened = (adapter: AdapterFacts) => tell({ kind: "opened", adapter });
    tell({ kind: "done", adapter: await inspectAdapter(data.asked, data.budget, opened) });
  } catch (error) {
    tell({ kind: "failed", error: messageOf(error) });
  }
});
