/** A mirror with the faults of real ones. @module */
import { join } from "../../core/std.ts";
import { type Fault, serveFile } from "./support.ts";

/** Serves `root`; every fourth answer or so is one of a bad mirror's. */
export function badMirror(root: string, next: () => number): Fault {
  const damaged = new Set<string>();
  return (request, path) => {
    const kind = Math.floor(next() * 24);
    const local = join(root, path);
    if (kind === 0) return new Response("busy", { status: 503 });
    if (kind === 1) {
      return new Response("slow down", { status: 429, headers: { "retry-after": "0" } });
    }
    if (!path.endsWith(".gz")) return undefined;
    const data = Deno.readFileSync(local);
    // The connection breaks off: fewer bytes than the length promised.
    if (kind < 4) return broken(data, Math.floor(next() * data.length));
    if (kind === 4) return new Response(data); // the whole file, to a Range too
    if (kind === 5 && !damaged.has(path)) {
      damaged.add(path);
      return new Response(data.map((byte, i) => i === 999 ? byte ^ 1 : byte));
    }
    return serveFile(request, local);
  };
}

function broken(data: Uint8Array, size: number): Response {
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(data.slice(0, size));
      controller.close();
    },
  });
  return new Response(body, { headers: { "content-length": String(data.length) } });
}
