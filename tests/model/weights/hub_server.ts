/** A server on loopback that speaks the hub's API. @module */
import { createHash } from "node:crypto";
import { sha256 } from "../../../core/files.ts";
import { join } from "../../../core/std.ts";

/** What a {@linkcode serveHub} does wrong, and what it was asked. */
export interface Behaviour {
  /** Sends only so many bytes of the weights, then breaks off. */
  breakAfter?: number;
  corrupt?: boolean;
  /** Ignores ranges. */
  whole?: boolean;
  token?: string;
  /** Gives this as the hash of the small files. */
  oid?: string;
  /** Sends more bytes of the weights than it lists. */
  more?: boolean;
  /** Answers questions about the repository without end. */
  endless?: boolean;
  /** Paths asked for, with their range. */
  asked: string[];
}

/** A server on loopback that speaks the hub's API, with the files of `folder` as org/model. */
export function serveHub(folder: string, behaviour: Behaviour) {
  const sha = "0123456789abcdef";
  const files = [...Deno.readDirSync(folder)].map(({ name }) => ({
    name,
    bytes: Deno.readFileSync(join(folder, name)),
  }));
  const handler = (request: Request): Response => {
    const { pathname, origin } = new URL(request.url);
    const range = request.headers.get("range");
    behaviour.asked.push(pathname + (range ? ` ${range}` : ""));
    if (behaviour.token && request.headers.get("authorization") !== `Bearer ${behaviour.token}`) {
      return new Response("", { status: 401 });
    }
    if (behaviour.endless) {
      const spaces = new Uint8Array(1 << 16).fill(32);
      return new Response(new ReadableStream({ pull: (c) => c.enqueue(spaces) }));
    }
    if (/^\/api\/models\/org\/model\/revision\/(main|v1)$/.test(pathname)) {
      return Response.json({ _id: "1", id: "org/model", sha, lastModified: "2024-01-01" });
    }
    if (pathname === `/api/models/org/model/tree/${sha}`) {
      const entries = files.map(({ name, bytes }) => ({
        type: "file",
        path: name,
        size: bytes.length,
        oid: behaviour.oid ??
          createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex"),
        ...(isLarge(name)
          ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } }
          : {}),
      }));
      return Response.json(entries);
    }
    const redirected = /^\/org\/model\/resolve\/0123456789abcdef\/(.+)$/.exec(pathname)?.[1];
    if (redirected) return Response.redirect(`${origin}/cdn/${redirected}`, 302);
    const file = files.find(({ name }) => pathname === `/cdn/${name}`);
    if (!file) return new Response("", { status: 404 });
    const from = behaviour.whole ? 0 : Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1] ?? 0);
    let body = file.bytes.slice(from);
    const large = isLarge(file.name);
    if (large && behaviour.corrupt) body[0]! ^= 1;
    if (large && behaviour.more) {
      const whole = file.bytes;
      const stream = new ReadableStream({ pull: (c) => c.enqueue(whole.slice()) });
      return new Response(stream);
    }
    if (large && behaviour.breakAfter !== undefined) {
      body = body.slice(0, behaviour.breakAfter);
      const stream = new ReadableStream({
        start(controller) {
          controller.enqueue(body);
          controller.close();
        },
      });
      return new Response(stream, { status: 206 });
    }
    return new Response(body, { status: from ? 206 : 200 });
  };
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
  return { server, endpoint: `http://127.0.0.1:${server.addr.port}` };
}

const isLarge = (name: string) => /\.(safetensors|bin)$/.test(name);
